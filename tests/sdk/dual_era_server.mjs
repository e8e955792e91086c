// A server of the TypeScript SDK @modelcontextprotocol/server 2.x; dual_era_server.py, the same in Python, says what for.

import { requireSdk } from './conversation.mjs';

const { McpServer, ProtocolError, ResourceTemplate, fromJsonSchema, inputRequired } = requireSdk('@modelcontextprotocol/server');
const { serveStdio } = requireSdk('@modelcontextprotocol/server/stdio');

const BIG_ANSWER_CHARACTERS = 600_000;
const REFUSED = -32050;
const CAPABILITIES = { logging: {}, prompts: {}, resources: { subscribe: true, listChanged: true }, tools: { listChanged: true } };

const NAME = inputRequired.elicit({
  message: 'What is your name?',
  requestedSchema: { type: 'object', properties: { name: { type: 'string' } }, required: ['name'] },
});
const GREETING = inputRequired.createMessage({
  messages: [{ role: 'user', content: { type: 'text', text: 'Say hello.' } }],
  maxTokens: 7,
});
const ROOTS = inputRequired.listRoots();

const released = [];
const waiting = [];

/** Let `count` go on, now or when it wants to. */
function goOn() {
  if (waiting.length > 0) waiting.shift()();
  else released.push(true);
}

async function permission() {
  if (released.pop()) return;
  await new Promise((resolve) => waiting.push(resolve));
}

function text(said) {
  return { content: [{ type: 'text', text: said }] };
}

function report({ mcpReq }, progress, total) {
  return mcpReq.notify({ method: 'notifications/progress', params: { progressToken: mcpReq._meta.progressToken, progress, total } });
}

function whatWasAnswered({ mcpReq }) {
  return `answered: ${Object.keys(mcpReq.inputResponses ?? {}).sort().join(', ')}`;
}

async function count({ steps }, context) {
  for (let step = 1; step <= steps; step += 1) {
    await report(context, step, steps);
    await permission();
  }
  return text(`counted to ${steps}`);
}

async function waitUntilCancelled(_, context) {
  await report(context, 1);
  await new Promise((resolve) => context.mcpReq.signal.addEventListener('abort', resolve));
  return text('never said');
}

/** Return a handler that asks `rounds` in turn, told apart by `requestState`, before `answer` answers. */
function asking(rounds, answer) {
  return (...parameters) => {
    const context = parameters.at(-1);
    const round = Number(context.mcpReq.requestState() ?? 0);
    if (round === rounds.length) return answer(...parameters);
    return inputRequired({ inputRequests: rounds[round], requestState: String(round + 1) });
  };
}

function askWithoutState(_, context) {
  return context.mcpReq.inputResponses ? text(whatWasAnswered(context)) : inputRequired({ inputRequests: { name: NAME } });
}

function addQuestions(server, addTool) {
  const answer = (_, context) => text(whatWasAnswered(context));
  addTool('ask_for_a_name', {}, asking([{ name: NAME }], answer));
  addTool('ask_for_everything', {}, asking([{ name: NAME, greeting: GREETING, roots: ROOTS }], answer));
  addTool('ask_twice', {}, asking([{ name: NAME }, { greeting: GREETING }], answer));
  addTool('ask_without_state', {}, askWithoutState);
  const message = (context) => ({ messages: [{ role: 'user', content: { type: 'text', text: whatWasAnswered(context) } }] });
  server.registerPrompt('ask_in_a_prompt', {}, asking([{ name: NAME }], message));
  const content = (uri, { topic }, context) => ({ contents: [{ uri: uri.href, text: `${topic}, ${whatWasAnswered(context)}` }] });
  server.registerResource('ask_in_a_resource', new ResourceTemplate('ask://{topic}', { list: undefined }), {}, asking([{ roots: ROOTS }], content));
}

function addChanges(server, addTool) {
  const addNote = (name, note) =>
    server.registerResource(name, `note://${name}`, {}, (uri) => ({ contents: [{ uri: uri.href, text: note }] }));
  addNote('today', 'a note');
  server.registerResource('refused', 'note://refused', {}, () => {
    throw new ProtocolError(REFUSED, 'the server refuses');
  });
  addTool('add_tool', {}, () => {
    addTool('late_tool', {}, () => text('a note'));
    return text('added');
  });
  addTool('add_resource', {}, () => {
    addNote('late', 'a late note');
    return text('added');
  });
  addTool('touch', { uri: { type: 'string' } }, async ({ uri }) => {
    await server.server.sendResourceUpdated({ uri });
    return text('touched');
  });
}

function makeServer() {
  const server = new McpServer({ name: 'kilometers-dual-era', version: '3.0.2' }, { capabilities: CAPABILITIES });
  const addTool = (name, properties, handler) => {
    const inputSchema = fromJsonSchema({ type: 'object', properties, required: Object.keys(properties) });
    server.registerTool(name, { inputSchema }, handler);
  };
  addTool('count', { steps: { type: 'integer' } }, count);
  addTool('go_on', {}, () => {
    goOn();
    return text('going on');
  });
  addTool('wait_until_cancelled', {}, waitUntilCancelled);
  addQuestions(server, addTool);
  addChanges(server, addTool);
  addTool('log', {}, async (_, { mcpReq }) => {
    await mcpReq.log('info', 'a log message');
    return text('logged');
  });
  addTool('fail', {}, () => ({ ...text('it did not work'), isError: true }));
  addTool('answer_at_length', {}, () => text('é'.repeat(BIG_ANSWER_CHARACTERS)));
  return server;
}

serveStdio(makeServer);

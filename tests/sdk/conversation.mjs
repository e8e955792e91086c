// The conversation that the TypeScript SDK clients of this folder hold, and how they report it.
//
// The counterpart of conversation.py, which says what a client prints and what a step may say; what is said stands in
// conversations.json.  A client program gives converse() its SDK's parts: `connect` and one function per method in `ask`.

import { createHash } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { join } from 'node:path';

// Longer than any run on a loaded machine, shorter than the test's own limit.
const CONVERSATION_TIMEOUT_MS = 40_000;
const ARRIVAL_TIMEOUT_MS = 5_000;
const LONGEST_PRINTED_TEXT = 2_000;
const MODERN = '2026-07-28';
// An SDK gives a server only a short list of variables; the rest must be named.
const PASSED_ON = ['KILOMETERS_HOME', 'KM_SDK_NODE_MODULES', 'MEMORY_FILE_PATH'];

const VOLATILE = [
  [/\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d[+-]\d\d:\d\d/g, '<datetime>'],
  [/\d{1,2}:\d\d:\d\d\s[AP]M/g, '<time>'],
  [/\b(Mon|Tues|Wednes|Thurs|Fri|Satur|Sun)day\b/g, '<weekday>'],
];

// Node looks for packages beside the importing file; ours stand elsewhere.
export const requireSdk = createRequire(join(process.env.KM_SDK_NODE_MODULES, '..', 'anchor.cjs'));

/** What the client answers when the server asks. */
export const ANSWERS = {
  'sampling/createMessage': {
    role: 'assistant',
    content: { type: 'text', text: 'hello from the client' },
    model: 'no-model',
    stopReason: 'endTurn',
  },
  'elicitation/create': { action: 'accept', content: { name: 'Ada', check: true, integer: 7 } },
  'roots/list': { roots: [{ uri: 'file:///nowhere/project', name: 'project' }] },
};
export const CAPABILITIES = { sampling: {}, elicitation: { form: {} }, roots: {} };

const lines = [];
const asked = [];
const notifications = new Map();
let heard = 0;
let isModern = false;

/** Answer a request of the server and keep it. */
export function answer(request) {
  asked.push([request.method, request.params ?? {}]);
  return ANSWERS[request.method];
}

/** Keep a notification. Progress is reported with its call; after a cancelled one it comes whenever the server likes. */
export async function hear({ method, params }) {
  if (method === 'notifications/progress') return;
  notifications.set(method, [...(notifications.get(method) ?? []), params ?? {}]);
  heard += 1;
}

/** Return `[mode, server command]` from the command line `MODE -- SERVER COMMAND…`. */
export function readArguments() {
  return [process.argv[2], process.argv.slice(process.argv.indexOf('--') + 1)];
}

/** Return how to start `command` with the environment that a user would have configured. */
export function serverParameters(command, defaultEnvironment) {
  const configured = PASSED_ON.filter((name) => name in process.env).map((name) => [name, process.env[name]]);
  return {
    command: command[0],
    args: command.slice(1),
    env: { ...defaultEnvironment, ...Object.fromEntries(configured) },
  };
}

/** Hold the whole conversation, then say what was said and who took part; end the process if it hangs. */
export async function converse({ command, connect, ask, identity, close }) {
  setTimeout(() => process.exit(3), CONVERSATION_TIMEOUT_MS).unref();
  try {
    await connect();
  } catch (error) {
    print({ kind: 'refused', client: identity().client, code: error.code, message: error.message });
    return;
  }
  const session = identity();
  isModern = session.protocol_version === MODERN;
  let leftOpen;
  for (const step of findSteps(command)) {
    // The server asks for roots once, 350 ms after its start or in this call: never let both meet.
    if (step.params?.name === 'get-roots-list' && !isModern) await arrival(() => asked.some(([method]) => method === 'roots/list'));
    if (step.is_abandoned) await new Promise((isUnderWay) => (leftOpen = take(ask, step, isUnderWay)));
    else await take(ask, step);
  }
  await close();
  await leftOpen;
  printWhatWasSaid();
  print({ kind: 'session', ...session });
}

function findSteps(command) {
  const conversations = JSON.parse(readFileSync(new URL('conversations.json', import.meta.url), 'utf8'));
  const text = command.join(' ');
  const [, steps] = Object.entries(conversations).find(([server]) => text.includes(server));
  return steps.filter((step) => text.includes(step.server ?? ''));
}

/** Do one step and keep how it ended. */
async function take(ask, step, isUnderWay) {
  const place = lines.push(undefined) - 1;
  const askedBefore = asked.length;
  const params = step.params ?? {};
  let [status, result] = await (step.method === 'subscriptions/listen' ? listen : call)(ask, step, isUnderWay);
  if (isUnderWay) [status, result] = ['abandoned', null];
  lines[place] = describeRequest(step.step, step.method, params, status, result, 'client_to_server');
  if (isModern) lines[place].asked = stable(asked.slice(askedBefore).sort(byText));
}

/** Listen while other steps are taken; return how it ended and what was granted. */
async function listen(ask, step) {
  const heardBefore = heard;
  const subscription = isModern ? await ask[step.method](step.params) : undefined;
  for (const inner of step.meanwhile) await take(ask, inner);
  if (!subscription) return ['unsupported', null];
  await arrival(() => heard >= heardBefore + step.hears);
  if (!step.ended_by_server) await subscription.close();
  const status = { local: 'cancelled', graceful: 'ok' }[await subscription.closed];
  return [status, { granted: subscription.honoredFilter }];
}

/** Return how `step` ended and its result, with the progress that was made before it. */
async function call(ask, step, isUnderWay) {
  const progress = [];
  const taken = [];
  const controller = new AbortController();
  const onprogress = ({ progress: done, total }) => {
    progress.push([done, total]);
    if (progress.length === step.cancel_after_progress) controller.abort('the client gave up');
    const inner = step.meanwhile?.[progress.length - 1];
    if (inner) taken.push(take(ask, inner));
    isUnderWay?.();
  };
  try {
    const options = { signal: controller.signal, ...(step.progress && { onprogress }) };
    const result = await ask[step.method](step.params, options);
    if (result === undefined) return ['unsupported', null];
    await Promise.all(taken);
    // The last one races with the answer, after which an SDK may drop it.
    if (step.progress) result.progress = progress.filter(([done, total]) => done !== total);
    return [result.isError ? 'tool_error' : 'ok', result];
  } catch (error) {
    return controller.signal.aborted ? ['cancelled', null] : ['error', { code: error.code, message: error.message }];
  }
}

function printWhatWasSaid() {
  for (const line of lines) print(line);
  for (const [method, params] of isModern ? [] : asked.sort(byText)) {
    print(describeRequest(`answer ${method}`, method, {}, 'ok', params, 'server_to_client'));
  }
  for (const [method, all] of [...notifications].sort(byText)) {
    print({ kind: 'notification', method, result: stable(all).sort(byText) });
  }
}

function describeRequest(step, method, params, status, result, direction) {
  const { name, uri } = params.ref ?? params;
  const target = name ?? uri ?? null;
  return { kind: 'request', step, direction, method, target, ok: status === 'ok', status, result: stable(result) };
}

function print(line) {
  console.log(JSON.stringify(line));
}

function byText(left, right) {
  const [a, b] = [JSON.stringify(left), JSON.stringify(right)];
  return a < b ? -1 : Number(a > b);
}

/** Return `value` without what changes from run to run, long texts as their digest. */
function stable(value) {
  if (typeof value === 'string') return stableText(value);
  if (Array.isArray(value)) return value.map(stable);
  if (value === null || typeof value !== 'object') return value;
  return Object.fromEntries(Object.entries(value).map(([key, item]) => [key, key === 'blob' ? stableBlob(item) : stable(item)]));
}

function stableBlob(encoded) {
  return stableText(Buffer.from(encoded, 'base64').toString());
}

function stableText(text) {
  const named = VOLATILE.reduce((rest, [pattern, name]) => rest.replace(pattern, name), text);
  if (named.length <= LONGEST_PRINTED_TEXT) return named;
  return `<${named.length} characters, sha256 ${createHash('sha256').update(named).digest('hex').slice(0, 16)}>`;
}

/** Wait until the SDK has handed over what is already on its way. */
async function arrival(hasArrived) {
  const deadline = Date.now() + ARRIVAL_TIMEOUT_MS;
  while (!hasArrived()) {
    if (Date.now() > deadline) throw new Error('what the server had to send did not arrive');
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
}

// One conversation of the TypeScript SDK @modelcontextprotocol/client 2.x with an MCP server.
//
// Usage: client_ts2.mjs legacy|auto|2026-07-28 -- SERVER COMMAND…

import { ANSWERS, CAPABILITIES, answer, converse, hear, readArguments, requireSdk, serverParameters } from './conversation.mjs';

const { Client } = requireSdk('@modelcontextprotocol/client');
const { StdioClientTransport, getDefaultEnvironment } = requireSdk('@modelcontextprotocol/client/stdio');

const CLIENT_INFO = { name: 'kilometers-test-ts2', version: '2.0.2' };
const NEGOTIATION = { legacy: undefined, auto: { mode: 'auto' } };

const [mode, command] = readArguments();
const versionNegotiation = mode in NEGOTIATION ? NEGOTIATION[mode] : { mode: { pin: mode } };
const client = new Client(CLIENT_INFO, { capabilities: CAPABILITIES, versionNegotiation });
for (const method of Object.keys(ANSWERS)) client.setRequestHandler(method, answer);
client.fallbackNotificationHandler = hear;

/** Call `list` if the server has such things: else the SDK answers with an empty list and sends nothing. */
const ifOffered = (things, list) => (params, options) =>
  things in client.getServerCapabilities() ? list(params, options) : undefined;

await converse({
  command,
  connect: () => client.connect(new StdioClientTransport(serverParameters(command, getDefaultEnvironment()))),
  ask: {
    'subscriptions/listen': (params) => client.listen(params),
    ping: (_, options) => client.ping(options),
    'logging/setLevel': ({ level }, options) => client.setLoggingLevel(level, options),
    'tools/list': (params, options) => client.listTools(params, options),
    'tools/call': (params, options) => client.callTool(params, options),
    'prompts/list': ifOffered('prompts', (params, options) => client.listPrompts(params, options)),
    'prompts/get': (params, options) => client.getPrompt(params, options),
    'resources/list': ifOffered('resources', (params, options) => client.listResources(params, options)),
    'resources/templates/list': (params, options) => client.listResourceTemplates(params, options),
    'resources/read': (params, options) => client.readResource(params, options),
    'resources/subscribe': (params, options) => client.subscribeResource(params, options),
    'resources/unsubscribe': (params, options) => client.unsubscribeResource(params, options),
    'completion/complete': (params, options) => client.complete(params, options),
  },
  identity: () => ({
    client: CLIENT_INFO,
    server: client.getServerVersion(),
    protocol_version: client.getNegotiatedProtocolVersion(),
  }),
  close: () => client.close(),
});

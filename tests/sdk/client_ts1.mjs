// One conversation of the TypeScript SDK @modelcontextprotocol/sdk 1.x with an MCP server.
//
// Usage: client_ts1.mjs legacy -- SERVER COMMAND…

import { CAPABILITIES, answer, converse, hear, readArguments, requireSdk, serverParameters } from './conversation.mjs';

const { Client } = requireSdk('@modelcontextprotocol/sdk/client/index.js');
const { StdioClientTransport, getDefaultEnvironment } = requireSdk('@modelcontextprotocol/sdk/client/stdio.js');
const { CreateMessageRequestSchema, ElicitRequestSchema, LATEST_PROTOCOL_VERSION, ListRootsRequestSchema } = requireSdk(
  '@modelcontextprotocol/sdk/types.js',
);

const CLIENT_INFO = { name: 'kilometers-test-ts1', version: '1.0.2' };

const [, command] = readArguments();
const client = new Client(CLIENT_INFO, { capabilities: CAPABILITIES });
for (const schema of [CreateMessageRequestSchema, ElicitRequestSchema, ListRootsRequestSchema]) client.setRequestHandler(schema, answer);
client.fallbackNotificationHandler = hear;

await converse({
  command,
  connect: () => client.connect(new StdioClientTransport(serverParameters(command, getDefaultEnvironment()))),
  ask: {
    ping: (_, options) => client.ping(options),
    'logging/setLevel': ({ level }, options) => client.setLoggingLevel(level, options),
    'tools/list': (params, options) => client.listTools(params, options),
    'tools/call': (params, options) => client.callTool(params, undefined, options),
    'prompts/list': (params, options) => client.listPrompts(params, options),
    'prompts/get': (params, options) => client.getPrompt(params, options),
    'resources/list': (params, options) => client.listResources(params, options),
    'resources/templates/list': (params, options) => client.listResourceTemplates(params, options),
    'resources/read': (params, options) => client.readResource(params, options),
    'resources/subscribe': (params, options) => client.subscribeResource(params, options),
    'resources/unsubscribe': (params, options) => client.unsubscribeResource(params, options),
    'completion/complete': (params, options) => client.complete(params, options),
  },
  // 1.x does not tell which version was agreed on; both sides here know the latest legacy one.
  identity: () => ({
    client: CLIENT_INFO,
    server: client.getServerVersion(),
    protocol_version: LATEST_PROTOCOL_VERSION,
  }),
  close: () => client.close(),
});

// Runs the official TypeScript SDK against the Vango at VANGO_URL with the key VANGO_KEY, and prints one JSON object:
// what each check got, or how it failed. The judging is done by test_anthropic_typescript.py.

import Anthropic from '@anthropic-ai/sdk';
import { betaTool } from '@anthropic-ai/sdk/helpers/beta/json-schema';
import { jsonSchemaOutputFormat } from '@anthropic-ai/sdk/helpers/json-schema';

const options = { baseURL: process.env.VANGO_URL, maxRetries: 0, timeout: 20_000 };
const client = new Anthropic({ ...options, apiKey: process.env.VANGO_KEY });

const hello = [{ role: 'user', content: 'Hello, I am Ada!' }];
const asksWeather = [{ role: 'user', content: 'What is the weather in Paris?' }];
const city = { type: 'object', properties: { city: { type: 'string' } }, required: ['city'], additionalProperties: false };
const weather = { name: 'get_weather', description: 'Get the weather in a city.', input_schema: city };
const person = {
  type: 'object',
  properties: { name: { type: 'string' }, age: { type: 'integer' } },
  required: ['name', 'age'],
  additionalProperties: false,
};

/** Return what a program can see of the error that `work` must end in. */
async function refusal(work) {
  try {
    await work();
  } catch (error) {
    if (!(error instanceof Anthropic.APIError)) throw error;
    const classes = ['RateLimitError', 'InternalServerError', 'NotFoundError', 'BadRequestError', 'AuthenticationError'];
    return {
      classes: classes.filter((name) => error instanceof Anthropic[name]),
      status: error.status,
      type: error.type,
      requestID: error.requestID,
      retryAfter: error.headers.get('retry-after'),
      body: error.error,
    };
  }
  throw new Error('expected an error');
}

async function collect(iterable) {
  const items = [];
  for await (const item of iterable) items.push(item);
  return items;
}

const create = (model, rest) => client.messages.create({ model, max_tokens: 256, messages: hello, ...rest });

async function runTools(stream) {
  const cities = [];
  const tool = betaTool({
    name: 'get_weather',
    description: 'Get the weather in a city.',
    inputSchema: city,
    run: ({ city }) => {
      cities.push(city);
      return `Rain in ${city}`;
    },
  });
  const runner = client.beta.messages.toolRunner({
    model: 'sandbox/tools',
    max_tokens: 256,
    messages: asksWeather,
    tools: [tool],
    stream,
  });
  const stops = [];
  for await (const turn of runner) stops.push((stream ? await turn.finalMessage() : turn).stop_reason);
  return { cities, stops, last: (await runner.done()).content.at(-1) };
}

const checks = {
  async create() {
    const { data, response, request_id } = await create('sandbox/chat').withResponse();
    return { message: data, requestID: request_id, headers: Object.fromEntries(response.headers) };
  },

  async stream() {
    const texts = [];
    const stream = client.messages.stream({ model: 'sandbox/chat', max_tokens: 256, messages: hello });
    stream.on('text', (text) => texts.push(text));
    const message = await stream.finalMessage();
    return { texts, message, text: await stream.finalText(), requestID: stream.request_id };
  },

  async rawStream() {
    return collect(await create('sandbox/chat', { stream: true }));
  },

  async tools() {
    const first = await create('sandbox/tools', { messages: asksWeather, tools: [weather] });
    const call = first.content.find((block) => block.type === 'tool_use');
    const result = { type: 'tool_result', tool_use_id: call.id, content: 'Sunny, 21 degrees' };
    const last = await create('sandbox/tools', {
      messages: [
        ...asksWeather,
        { role: 'assistant', content: first.content },
        { role: 'user', content: [result] },
      ],
      tools: [weather],
    });
    return { first, call, last };
  },

  async streamedTools() {
    const stream = client.messages.stream({
      model: 'sandbox/tools',
      max_tokens: 256,
      messages: asksWeather,
      tools: [weather],
    });
    return (await stream.finalMessage()).content.at(-1);
  },

  toolRunner: () => runTools(false),
  streamedToolRunner: () => runTools(true),

  async thinking() {
    const thinking = { type: 'adaptive' };
    const stream = client.messages.stream({ model: 'sandbox/think', max_tokens: 2048, messages: hello, thinking });
    const message = await stream.finalMessage();
    const next = [...hello, { role: 'assistant', content: message.content }, { role: 'user', content: 'What is my name?' }];
    return { message, next: await create('sandbox/think', { max_tokens: 2048, messages: next, thinking }) };
  },

  async structured() {
    const message = await client.messages.parse({
      model: 'sandbox/chat',
      max_tokens: 256,
      messages: [{ role: 'user', content: 'Ada is 36 years old.' }],
      output_config: { format: jsonSchemaOutputFormat(person) },
    });
    return message.parsed_output;
  },

  async countTokens() {
    const { input_tokens } = await client.messages.countTokens({ model: 'sandbox/chat', messages: hello });
    return { counted: input_tokens, used: (await create('sandbox/chat')).usage.input_tokens };
  },

  async models() {
    const listed = await collect(client.models.list({ limit: 1000 }));
    return { ids: listed.map(({ id }) => id), one: await client.models.retrieve('sandbox/chat') };
  },

  async abort() {
    const stream = client.messages.stream({ model: 'sandbox/slow', max_tokens: 256, messages: hello });
    let events = 0;
    try {
      for await (const _ of stream) if (++events === 3) stream.abort();
    } catch (error) {
      if (!(error instanceof Anthropic.APIUserAbortError)) throw error;
    }
    return { aborted: stream.aborted, events };
  },

  rateLimited: () => refusal(() => create('sandbox/fail-429')),
  rateLimitedStream: () => refusal(() => client.messages.stream({ model: 'sandbox/fail-429', max_tokens: 9, messages: hello }).done()),
  overloaded: () => refusal(() => create('sandbox/fail-529')),
  failed: () => refusal(() => create('sandbox/fail-500')),
  unknownModel: () => refusal(() => create('sandbox/nothing')),
  badRequest: () => refusal(() => create('sandbox/chat', { messages: [] })),
  wrongKey: () => refusal(() => new Anthropic({ ...options, apiKey: 'vango_sk_of_another' }).models.list()),
};

const report = {};
for (const [name, check] of Object.entries(checks)) {
  try {
    report[name] = { got: await check() };
  } catch (error) {
    report[name] = { failed: error.stack ?? String(error) };
  }
}
console.log(JSON.stringify(report));

// The Vercel AI SDK with both providers: `@ai-sdk/openai-compatible`, and `@ai-sdk/openai`, whose default is the
// Responses API. It prints what scenarios.py says: one line of JSON for each scenario.

import assert from "node:assert";
import { createOpenAI } from "@ai-sdk/openai";
import { createOpenAICompatible } from "@ai-sdk/openai-compatible";
import { embedMany, generateText, Output, streamText, tool } from "ai";
import { z } from "zod";

globalThis.AI_SDK_LOG_WARNINGS = false;
const { OPENAI_BASE_URL: baseURL, OPENAI_API_KEY: apiKey, MODEL } = process.env;
const compatible = createOpenAICompatible({
  name: "populace", baseURL, apiKey, includeUsage: true, supportsStructuredOutputs: true,
});
const openai = createOpenAI({ baseURL, apiKey });

const instructions = "You are a helpful assistant. Answer in one short sentence.";
const first = "My cat is called Minka. Say hello to her.";
const second = "What is my cat called?";
const question = "What is the weather in Paris?";
const short = { maxOutputTokens: 16, temperature: 0, maxRetries: 0 };
const longer = { ...short, maxOutputTokens: 60 };
const cat = z.object({ name: z.string().max(12), colour: z.enum(["black", "white"]) });
const tools = {
  get_weather: tool({
    description: "Return the weather of a city.",
    inputSchema: z.object({ city: z.string().max(12) }),
  }),
};
const oneCall = { openai: { parallelToolCalls: false }, populace: { parallel_tool_calls: false } };
const weather = { type: "text", value: "18 degrees and sunny" };

function filled(text) {
  assert(text && text.trim(), `the reply is ${JSON.stringify(text)}`);
  return text;
}

async function twoTurns(model, turns) {
  const one = await generateText({ model, instructions, prompt: first, ...short });
  turns.push(filled(one.text));
  const said = { role: "user", content: first };
  const messages = [said, ...one.response.messages, { role: "user", content: second }];
  const two = await generateText({ model, instructions, messages, ...short });
  turns.push(filled(two.text));
  assert(two.usage.outputTokens > 0);
}

async function stream(model, turns) {
  let failure;
  const result = streamText({ model, prompt: first, ...short, onError: ({ error }) => { failure = error; } });
  let text = "";
  for await (const part of result.textStream) text += part;
  if (failure) throw failure;
  turns.push(filled(text));
  assert((await result.usage).outputTokens > 0);
}

async function structured(model, turns) {
  const result = await generateText({ model, prompt: first, output: Output.object({ schema: cat }), ...longer });
  cat.parse(result.output);
  turns.push(result.text);
}

async function callAndAnswer(model, turns) {
  const asked = { role: "user", content: question };
  const called = await generateText({ model, messages: [asked], tools, toolChoice: "required", providerOptions: oneCall, ...longer });
  const [call] = called.toolCalls;
  assert.equal(call.toolName, "get_weather");
  assert.equal(typeof call.input.city, "string");
  turns.push(null);
  const result = { type: "tool-result", toolCallId: call.toolCallId, toolName: call.toolName, output: weather };
  const messages = [asked, ...called.response.messages, { role: "tool", content: [result] }];
  const answer = await generateText({ model, messages, tools, toolChoice: "none", ...short });
  turns.push(filled(answer.text));
}

async function callOrAnswer(model, turns) {
  const result = await generateText({ model, prompt: question, tools, ...longer });
  turns.push(result.toolCalls.length ? null : filled(result.text));
}

async function chained(model, turns) {
  const one = await generateText({ model, prompt: first, ...short });
  turns.push(filled(one.text));
  const previousResponseId = one.providerMetadata.openai.responseId;
  const two = await generateText({ model, prompt: second, providerOptions: { openai: { previousResponseId } }, ...short });
  turns.push(filled(two.text));
}

async function embed() {
  const model = compatible.embeddingModel("base");
  const { embeddings } = await embedMany({ model, values: [first, second], maxRetries: 0 });
  assert.equal(embeddings.length, 2);
}

const scenarios = [
  ["openai-compatible: generateText, two turns", (turns) => twoTurns(compatible(MODEL), turns)],
  ["openai-compatible: streamText", (turns) => stream(compatible(MODEL), turns)],
  ["openai-compatible: generateText with Output.object", (turns) => structured(compatible(MODEL), turns)],
  ["openai-compatible: a required call of a tool, its result and the answer", (turns) => callAndAnswer(compatible(MODEL), turns)],
  ["openai-compatible: tools with the choice left to the model", (turns) => callOrAnswer(compatible(MODEL), turns)],
  ["openai-compatible: embedMany", () => embed()],
  ["openai.chat(): generateText, two turns", (turns) => twoTurns(openai.chat(MODEL), turns)],
  ["openai.chat(): streamText", (turns) => stream(openai.chat(MODEL), turns)],
  ["openai.chat(): generateText with Output.object", (turns) => structured(openai.chat(MODEL), turns)],
  ["openai(), the Responses API: two turns by previousResponseId", (turns) => chained(openai(MODEL), turns)],
  ["openai(), the Responses API: streamText", (turns) => stream(openai(MODEL), turns)],
  ["openai(), the Responses API: generateText with Output.object", (turns) => structured(openai(MODEL), turns)],
  ["openai(), the Responses API: a required call of a tool, its result and the answer", (turns) => callAndAnswer(openai(MODEL), turns)],
];

function words(error) {
  try {
    return JSON.parse(error.responseBody).error.message;
  } catch {
    return `${error.name}: ${error.message}`;
  }
}

for (const [scenario, run] of scenarios) {
  const turns = [];
  const outcome = { scenario, ok: true, turns };
  try {
    await run(turns);
  } catch (error) {
    Object.assign(outcome, { ok: false, error: words(error) });
  }
  console.log(JSON.stringify(outcome));
}

// Requests to our own server. Every failure is a Refused (the server said why) or an Away (it did not answer).

export class Refused extends Error {
  constructor(status, { what, kept = "", remedy = "" }) {
    super([what, kept, remedy].filter(Boolean).join(" "));
    this.status = status;
  }
}

export class Away extends Error {}

async function request(path, options) {
  let response;
  try {
    response = await fetch(path, options);
  } catch (error) {
    throw new Away(error.message);
  }
  if (response.ok) return response;
  if (response.status >= 500 && response.status !== 507) throw new Away(`status ${response.status}`);
  let reason;
  try {
    reason = await response.json();
  } catch {
    reason = { what: `The server refused (${response.status}).` };
  }
  throw new Refused(response.status, reason);
}

export const getJson = async (path) => (await request(path)).json();

export async function postJson(path, value) {
  return (await request(path, { method: "POST", body: JSON.stringify(value) })).json();
}

export async function postAnswer(number, about, labels) {
  const json = new TextEncoder().encode(JSON.stringify(about));
  const message = new Uint8Array(4 + json.length + labels.length);
  new DataView(message.buffer).setUint32(0, json.length, true);
  message.set(json, 4);
  message.set(labels, 4 + json.length);
  return (await request(`/api/regions/${number}/answer`, { method: "POST", body: message })).json();
}

// A region, all of it: {about, arrays: {name: typed array}, view, thumbnail}.
export async function loadRegion(number, person) {
  const response = await request(`/api/regions/${number}?${new URLSearchParams(person)}`);
  const message = await body(response), length = new DataView(message).getUint32(0, true);
  const about = JSON.parse(new TextDecoder().decode(new Uint8Array(message, 4, length)));
  const region = { about, arrays: {} };
  let offset = 4 + length;
  for (const { name, type, shape } of about.parts) {
    const bytes = shape.reduce((a, b) => a * b, 1) * (type === "uint16" ? 2 : 1);
    const part = message.slice(offset, offset + bytes);
    if (type === "uint8") region.arrays[name] = new Uint8Array(part);
    else if (type === "uint16") region.arrays[name] = new Uint16Array(part);
    else region[name] = await createImageBitmap(new Blob([part], { type }));
    offset += bytes;
  }
  return region;
}

// A server that dies in the middle of an answer is away, too.
async function body(response) {
  try {
    return await response.arrayBuffer();
  } catch (error) {
    throw new Away(error.message);
  }
}

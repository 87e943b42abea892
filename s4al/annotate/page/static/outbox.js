// What must survive a reload and a server that is away: answers on their way, and the region at hand. IndexedDB, or
// memory where the browser allows none.

import { Away, Refused, postAnswer, postJson } from "./api.js";
import { isOpen } from "./tab.js";

const memory = { answers: new Map(), drafts: new Map() };
let opening = null;

function database() {
  opening ??= new Promise((resolve) => {
    const request = indexedDB.open("s4al", 1);
    request.onupgradeneeded = () => {
      request.result.createObjectStore("answers");
      request.result.createObjectStore("drafts");
    };
    request.onsuccess = () => resolve(request.result);
    request.onerror = () => resolve(null);
  }).catch(() => null);
  return opening;
}

database(); // it takes a moment, and is needed at once

async function run(store, mode, act, fallback) {
  const db = await database();
  if (!db) return fallback(memory[store]);
  try {
    return await transact(db, store, mode, act);
  } catch (error) {
    console.warn("The browser keeps nothing any more; answers wait in this tab alone.", error);
    opening = Promise.resolve(null); // no room, or storage was cleared
    return fallback(memory[store]);
  }
}

function transact(db, store, mode, act) {
  return new Promise((resolve, reject) => {
    const transaction = db.transaction(store, mode, { durability: "strict" });
    const request = act(transaction.objectStore(store));
    transaction.oncomplete = () => resolve(request.result);
    transaction.onerror = transaction.onabort = () => reject(transaction.error);
  });
}

const put = (store, key, value) => run(store, "readwrite", (s) => s.put(value, key), (m) => m.set(key, value));
const get = (store, key) => run(store, "readonly", (s) => s.get(key), (m) => m.get(key));
const remove = (store, key) => run(store, "readwrite", (s) => s.delete(key), (m) => m.delete(key));
const all = (store) => run(store, "readonly", (s) => s.getAll(), (m) => [...m.values()]);

export class Outbox {
  // round: the server's name of the round; answers to other rounds stay where they are. client: this tab's name;
  // those of other open tabs are theirs.
  // heard: called with ("saved", result), ("refused", record, error), or ("away", count, error).
  constructor(round, client, heard) {
    this.round = round;
    this.client = client;
    this.heard = heard;
    this.sending = null;
    this.wait = 0;
    this.count = Date.now(); // orders the answers; a clock that is set back between two pages disturbs no more than that
  }

  #waiting = new Set(); // numbers of regions

  #key = (number) => `${this.round}:${String(number).padStart(9, "0")}`;

  // Kept in the browser when this resolves; sent as soon as can be. `labels` is null for a skipped region.
  async add(record) {
    this.#waiting.add(record.number);
    await put("answers", this.#key(record.number), { ...record, round: this.round, key: this.#key(record.number), at: ++this.count });
    this.send();
  }

  // The regions whose answers are on their way.
  get numbers() {
    return [...this.#waiting];
  }

  // What the page before a reload left behind, and tabs that are closed.
  async open() {
    for (const record of await all("answers")) {
      const { client } = record.about;
      if (record.round !== this.round || (client !== this.client && (await isOpen(client)))) continue;
      record.about.client = this.client;
      await put("answers", record.key, record);
      this.#waiting.add(record.number);
    }
    this.send();
  }

  answer(number) {
    return get("answers", this.#key(number));
  }

  async waiting() {
    const mine = (record) => record.round === this.round && record.about.client === this.client;
    return (await all("answers")).filter(mine).sort((a, b) => a.at - b.at);
  }

  // One at a time, oldest first, again and again until all are through.
  send() {
    this.wanted = true;
    this.sending ??= this.#sendWhileWanted();
    return this.sending;
  }

  async #sendWhileWanted() {
    while (this.wanted) {
      this.wanted = false;
      await this.#sendAll();
    }
    this.sending = null;
  }

  async #sendAll() {
    for (let records; (records = await this.waiting()).length; ) {
      try {
        await this.#sendOne(records[0]);
        this.wait = 0;
      } catch (error) {
        if (!(error instanceof Away || error.status === 403 || error.status === 507)) throw error;
        this.heard("away", records.length, error);
        this.wait = Math.min(5000, this.wait * 1.5 + 400);
        await new Promise((resolve) => setTimeout(resolve, this.wait));
      }
    }
  }

  async #sendOne(record) {
    const { number, labels, about } = record;
    try {
      const result = labels ? await postAnswer(number, about, labels) : await postJson(`/api/regions/${number}/skip`, about);
      await this.#forget(record);
      this.heard("saved", result);
    } catch (error) {
      if (!(error instanceof Refused) || error.status === 403 || error.status === 507) throw error;
      await this.#forget(record);
      this.heard("refused", record, error);
    }
  }

  // Unless it was answered again meanwhile.
  async #forget(record) {
    const now = await get("answers", record.key);
    if (now?.at !== record.at) return;
    await remove("answers", record.key);
    this.#waiting.delete(record.number);
  }

  keepDraft(number, draft) {
    return put("drafts", this.#key(number), draft);
  }

  draft(number) {
    return get("drafts", this.#key(number));
  }

  dropDraft(number) {
    return remove("drafts", this.#key(number));
  }
}

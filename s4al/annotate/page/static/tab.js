// What this tab is called. Other tabs of the browser see the same storage, and have to be told from it.

// A name that stays over a reload. A duplicated tab inherits the storage: it must not be the same one.
export async function clientName() {
  const kept = sessionStorage.getItem("s4al-client");
  const fresh = () => Array.from(crypto.getRandomValues(new Uint8Array(12)), (byte) => byte.toString(16).padStart(2, "0")).join("");
  const name = kept && (await take(kept)) ? kept : fresh();
  if (name !== kept) {
    for (const key of ["s4al-held", "s4al-finished", "s4al-session"]) sessionStorage.removeItem(key);
    await take(name);
  }
  sessionStorage.setItem("s4al-client", name);
  return name;
}

// Whether the tab of that name is open; where the browser knows no locks (a page that is not from this machine), none is.
export async function isOpen(name) {
  const { held = [] } = (await navigator.locks?.query()) ?? {};
  return held.some((lock) => lock.name === `s4al-${name}`);
}

// Takes the name for as long as this page lives; false where another tab has it.
function take(name) {
  if (!navigator.locks) return true;
  return new Promise((resolve) => {
    navigator.locks.request(`s4al-${name}`, { ifAvailable: true }, (lock) => {
      resolve(lock !== null);
      return lock && new Promise(() => {});
    });
  });
}

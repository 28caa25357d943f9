// What a browser keeps for the console, for ever or for a tab. If it forbids that, it is kept in the page.

/** A browser's storage by its name. */
function storage(name) {
  const memory = new Map();
  const trying = (work, otherwise) => {
    try {
      return work(window[name]);
    } catch {
      return otherwise();
    }
  };
  return {
    recall: (item) =>
      memory.get(item) ??
      trying(
        (kept) => kept.getItem(item),
        () => null,
      ),
    keep: (item, value) =>
      trying(
        (kept) => kept.setItem(item, value),
        () => memory.set(item, value),
      ),
    drop(item) {
      memory.delete(item);
      trying(
        (kept) => kept.removeItem(item),
        () => {},
      );
    },
  };
}

export const device = storage("localStorage");
export const tab = storage("sessionStorage");

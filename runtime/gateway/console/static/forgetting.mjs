// Forgetting turns for good: first what would go is said, then it goes.
import { path, post } from "./api.mjs";
import { confirm } from "./dialogs.mjs";
import { attempt, say } from "./notices.mjs";
import { count } from "./words.mjs";

/** Ask, and forget the turns. Returns the positions that are gone, or null. */
export async function forget(name, positions) {
  const agreed = await confirm({
    title: `Forget ${count(positions.length, "turn")}?`,
    text: "It leaves the log, the memory and all that learned from it. No copy of it stays.",
    action: "Forget",
    danger: true,
  });
  if (!agreed) return null;
  const gone = await attempt(() => post(path(name, "/forget"), { positions }));
  if (!gone) return null;
  say(gone.message);
  return [...gone.forgotten, ...gone.already_forgotten];
}

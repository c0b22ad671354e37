import { signal } from "@preact/signals";
import { TABS } from "../route";
import { Dialog } from "./Dialog";

export const helpOpen = signal(false);

const isMac = /Mac|iPhone|iPad/.test(navigator.userAgent);
export const MODIFIER = isMac ? "⌘" : "Ctrl";

const SHORTCUTS: readonly (readonly [string, readonly (readonly [string, string])[]])[] = [
  [
    "Everywhere",
    [
      ["?", "this list"],
      [TABS.map((_, k) => k + 1).join(" "), "the parts of the page"],
      ["T", "light, dark, or as the system"],
    ],
  ],
  [
    "Make",
    [
      [`${MODIFIER} Enter`, "draw"],
      ["Esc", "stop what is being drawn"],
      ["P", "to the prompt"],
      ["/", "search the gallery"],
      ["← →", "in an opened picture: the one before, the next"],
    ],
  ],
  [
    "Mask",
    [
      ["[ ]", "a smaller brush, a larger one"],
      ["E", "paint or erase"],
      ["I", "invert"],
      [`${MODIFIER} Z`, "undo"],
    ],
  ],
  [
    "See inside",
    [
      ["← →", "a step back, a step on"],
      ["Home End", "pure noise, the picture"],
      ["Space", "play the walk"],
    ],
  ],
  [
    "Play",
    [
      ["Space", "play, pause"],
      ["← →", "less noise or more, a little"],
      ["Home End", "the data, pure noise"],
      ["[ ]", "the scene before, the next"],
    ],
  ],
  [
    "Lab",
    [
      ["/", "search the experiments"],
      ["Enter", "in a setting: run"],
      ["Esc", "stop the run"],
    ],
  ],
];

/** The shortcuts. */
export function Help() {
  const close = () => {
    helpOpen.value = false;
  };
  return (
    <Dialog title="Shortcuts" onClose={close} kind="narrow">
      {SHORTCUTS.map(([part, lines]) => (
        <section key={part} class="shortcuts">
          <h3>{part}</h3>
          <dl>
            {lines.map(([keys, what]) => (
              <div key={keys}>
                <dt>
                  {keys.split(" ").map((one) => (
                    <kbd key={one}>{one.replace(",", "")}</kbd>
                  ))}
                </dt>
                <dd>{what}</dd>
              </div>
            ))}
          </dl>
        </section>
      ))}
    </Dialog>
  );
}

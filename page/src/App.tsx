import { useSignalEffect } from "@preact/signals";
import { useEffect } from "preact/hooks";
import { keyWanted, knock, lineOf, reachable } from "./api";
import { Inside } from "./inside/Inside";
import { gallery, isBusy, loadGallery } from "./jobs";
import { Lab } from "./lab/Lab";
import { Make } from "./make/Make";
import { loadModels, modelError } from "./models";
import { Play } from "./play/Play";
import { address, go, TABS, tab } from "./route";
import { dismiss, toasts } from "./toasts";
import { Help, helpOpen } from "./ui/Help";
import { Icon } from "./ui/Icon";
import { KeyDialog } from "./ui/KeyDialog";
import { isModal, isPlain, isTyping } from "./ui/keys";
import mark from "./ui/mark.svg";
import { nextTheme, theme } from "./ui/theme";

const PARTS = { make: Make, inside: Inside, play: Play, lab: Lab };
const THEME_WORDS = { auto: "as the system", light: "light", dark: "dark" };
const AGAIN = 3000; // ms

async function load(): Promise<void> {
  try {
    await loadModels();
    modelError.value = "";
  } catch (error) {
    modelError.value = lineOf(error);
    if (!keyWanted.value) setTimeout(load, AGAIN);
    return;
  }
  await loadGallery();
}

function shortcut(event: KeyboardEvent): void {
  if (isTyping(event) || isModal() || !isPlain(event)) return;
  if (event.key === "?") helpOpen.value = true;
  else if (event.key === "t" || event.key === "T") nextTheme();
  else {
    const part = TABS[Number(event.key) - 1];
    if (!part) return;
    go(part.name);
  }
  event.preventDefault();
}

export function App() {
  useEffect(() => {
    void load();
    const back = () => {
      if (gallery.value !== null && document.visibilityState === "visible") void loadGallery();
    };
    document.addEventListener("keydown", shortcut);
    document.addEventListener("visibilitychange", back);
    return () => {
      document.removeEventListener("keydown", shortcut);
      document.removeEventListener("visibilitychange", back);
    };
  }, []);
  useSignalEffect(() => {
    if (reachable.value) return;
    const timer = setInterval(() => void knock(), AGAIN);
    return () => clearInterval(timer);
  });
  const Part = PARTS[tab.value];
  return (
    <>
      <a class="skip" href="#main" onClick={toMain}>
        To the content
      </a>
      <header class="top">
        <a class="brand" href={address("make")}>
          <img src={mark} alt="" width="26" height="26" /> scorefield
        </a>
        <nav aria-label="Parts of the page">
          {TABS.map(({ name, label }) => (
            <a key={name} href={address(name)} aria-current={tab.value === name ? "page" : undefined}>
              {label}
            </a>
          ))}
        </nav>
        <span class="state" data-busy={isBusy.value} aria-hidden="true" />
        <button
          type="button"
          class="plain square"
          onClick={nextTheme}
          title={`Colours: ${THEME_WORDS[theme.value]} (T)`}
          aria-label={`Colours: ${THEME_WORDS[theme.value]}; change`}
        >
          <Icon name={theme.value} />
        </button>
        <button
          type="button"
          class="plain square"
          title="Shortcuts (?)"
          aria-label="Shortcuts"
          onClick={() => {
            helpOpen.value = true;
          }}
        >
          <b aria-hidden="true">?</b>
        </button>
      </header>
      {!reachable.value && (
        <p class="banner" role="status">
          The server does not answer. The page goes on as soon as it does.
        </p>
      )}
      <main id="main" tabIndex={-1}>
        <Part />
      </main>
      <div class="toasts" role="status" aria-live="polite">
        {toasts.value.map(({ id, text }) => (
          <div key={id} class="toast">
            <span>{text}</span>
            <button type="button" class="plain square" aria-label="Dismiss" onClick={() => dismiss(id)}>
              <Icon name="close" />
            </button>
          </div>
        ))}
      </div>
      {helpOpen.value && <Help />}
      {keyWanted.value && <KeyDialog onDone={load} />}
    </>
  );
}

function toMain(event: Event): void {
  event.preventDefault(); // the address behind # belongs to the parts
  document.getElementById("main")?.focus();
}

import { useSignal } from "@preact/signals";
import { lineOf, signIn } from "../api";
import { Dialog } from "./Dialog";

/** Asks for the server's API key. */
export function KeyDialog({ onDone }: { onDone: () => void }) {
  const key = useSignal("");
  const error = useSignal("");
  const send = async (event: Event) => {
    event.preventDefault();
    try {
      await signIn(key.value);
      onDone();
    } catch (reason) {
      error.value = lineOf(reason);
    }
  };
  return (
    <Dialog title="This server asks for its key" onClose={() => undefined} kind="narrow" mustStay>
      <form class="stack" onSubmit={send}>
        <p class="quiet">Whoever runs the server has it: it was given as --api-key.</p>
        <label class="stack tight">
          API key
          <input
            type="password"
            autocomplete="current-password"
            value={key.value}
            onInput={(event) => {
              key.value = event.currentTarget.value;
            }}
          />
        </label>
        <p class="error" role="alert">
          {error.value}
        </p>
        <button type="submit" class="primary" disabled={key.value === ""}>
          Open the page
        </button>
      </form>
    </Dialog>
  );
}

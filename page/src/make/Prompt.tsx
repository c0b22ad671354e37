import { useSignal, useSignalEffect } from "@preact/signals";
import { createRef } from "preact";
import { lineOf, readWords, ServerError } from "../api";
import { negative, prompt, refused } from "../draft";
import { model, modelError, modelName, options, takes } from "../models";
import { plural } from "../text";
import type { Words } from "../types";
import { MODIFIER } from "../ui/Help";
import { Icon } from "../ui/Icon";
import { draw } from "./draw";

const PAUSE = 200; // ms without a key, before the words are read

export const promptBox = createRef<HTMLTextAreaElement>();

/** The words, how the model reads them, and the button that draws. */
export function Prompt() {
  return (
    <form
      class="words"
      aria-label="Words"
      onSubmit={(event) => {
        event.preventDefault();
        void draw();
      }}
    >
      <Box
        label="Prompt"
        value={prompt.value}
        onInput={(text) => {
          prompt.value = text;
        }}
        placeholder={model.value?.ships ? "a red car on the beach" : "What to draw"}
        isMain
      />
      {takes("negative_prompt") && (
        <Box
          label="Not in the picture"
          value={negative.value}
          onInput={(text) => {
            negative.value = text;
          }}
          placeholder=""
        />
      )}
      <button type="submit" class="primary draw" disabled={options.value === null}>
        <Icon name="draw" /> Draw <kbd>{MODIFIER} Enter</kbd>
      </button>
      <p class="error one-line" role="alert">
        {refused.value && refused.value.option !== "grid" ? refused.value.line : modelError.value}
      </p>
    </form>
  );
}

interface BoxProps {
  label: string;
  value: string;
  onInput: (text: string) => void;
  placeholder: string;
  isMain?: boolean;
}

/** A text that grows with its words, and marks those that the model never saw. */
function Box({ label, value, onInput, placeholder, isMain = false }: BoxProps) {
  const words = useSignal<Words | null>(null);
  const problem = useSignal("");
  const text = isMain ? prompt : negative;
  useSignalEffect(() => {
    const [asked, name] = [text.value, modelName.value];
    if (name === "" || options.value === null) return;
    const stop = new AbortController();
    const timer = setTimeout(async () => {
      try {
        words.value = await readWords(name, asked, stop.signal);
        problem.value = "";
      } catch (error) {
        if (stop.signal.aborted) return;
        words.value = null;
        problem.value = error instanceof ServerError && error.status === 400 ? lineOf(error) : "";
      }
    }, PAUSE);
    return () => {
      clearTimeout(timer);
      stop.abort();
    };
  });
  const unknown = value.trim() === "" ? {} : (words.value?.unknown ?? {});
  const id = isMain ? "prompt" : "negative";
  return (
    <div class={isMain ? "box main" : "box"}>
      <div class="box-head">
        <label for={id}>{label}</label>
        <Count words={value.trim() === "" ? null : words.value} />
      </div>
      <div class="grow">
        <div class="behind" aria-hidden="true">
          {marked(value, unknown)}{" "}
        </div>
        <textarea
          id={id}
          ref={isMain ? promptBox : null}
          value={value}
          placeholder={placeholder}
          rows={1}
          spellcheck={false}
          autocomplete="off"
          maxLength={10000}
          aria-describedby={`${id}-notes`}
          onInput={(event) => onInput(event.currentTarget.value)}
        />
      </div>
      <div class="box-notes" id={`${id}-notes`} aria-live="polite">
        {problem.value && <p class="error">{problem.value}</p>}
        {Object.entries(unknown).map(([word, near]) => (
          <p key={word} class="unknown">
            <b>{word}</b> is a new word here{near.length > 0 && "; nearest:"}{" "}
            {near.map((other) => (
              <button
                key={other}
                type="button"
                class="chip"
                aria-label={`Write ${other} instead of ${word}`}
                onClick={() => onInput(replaced(value, word, other))}
              >
                {other}
              </button>
            ))}
          </p>
        ))}
      </div>
    </div>
  );
}

function Count({ words }: { words: Words | null }) {
  if (words === null) return <span class="count" />;
  const { tokens, room, chunks } = words;
  const isFull = tokens > room * chunks;
  return (
    <span class="count" data-full={isFull}>
      {tokens} of {room * chunks} tokens{chunks > 1 && `, ${plural(chunks, "chunk")}`}
    </span>
  );
}

const pattern = (words: string[]) =>
  new RegExp(
    `(?<![\\p{L}\\p{N}])(${words.map((word) => word.replace(/[.*+?^${}()|[\]\\]/g, "\\$&")).join("|")})(?![\\p{L}\\p{N}])`,
    "giu",
  );

function marked(text: string, unknown: Record<string, string[]>) {
  const words = Object.keys(unknown);
  if (words.length === 0) return text;
  return text
    .split(pattern(words))
    .map((part, k) => (k % 2 ? <mark key={`${k}${part}`}>{part}</mark> : part));
}

const replaced = (text: string, word: string, other: string) => text.replace(pattern([word]), other);

import { signal } from "@preact/signals";
import { useEffect, useRef } from "preact/hooks";
import { address } from "../route";
import { isModal, isPlain, isTyping } from "../ui/keys";
import type { Experiment } from "./api";
import { newest, results } from "./runs";
import { standing } from "./Standing";

const wanted = signal("");

function matches(one: Experiment): boolean {
  const text = `${one.name} ${one.claim} ${one.about}`.toLowerCase();
  return wanted.value
    .toLowerCase()
    .split(/\s+/)
    .every((word) => text.includes(word));
}

/** All experiments with their claims. */
export function List({ all }: { all: Experiment[] }) {
  const search = useRef<HTMLInputElement>(null);
  useEffect(() => {
    const keys = (event: KeyboardEvent) => {
      if (event.key !== "/" || isTyping(event) || isModal() || !isPlain(event)) return;
      event.preventDefault();
      search.current?.select();
    };
    document.addEventListener("keydown", keys);
    return () => document.removeEventListener("keydown", keys);
  }, []);
  const shown = all.filter(matches);
  return (
    <>
      <p class="quiet">
        What is commonly said about diffusion, as claims that can be false. Each states its numbers before it
        runs; run them again with settings of your own.
      </p>
      <input
        ref={search}
        type="search"
        class="lab-search"
        placeholder={`Search ${all.length} experiments`}
        aria-label="Search the experiments"
        value={wanted.value}
        onInput={(event) => {
          wanted.value = event.currentTarget.value;
        }}
      />
      <ul class="lab-list">
        {shown.map((one) => (
          <li key={one.name}>
            <a class="card" href={address("lab", one.name)}>
              <span class="lab-name">
                <b>{one.name}</b> <State name={one.name} />
              </span>
              <span>{one.claim}</span>
            </a>
          </li>
        ))}
      </ul>
      <p class="quiet" role="status">
        {shown.length === 0 && "No experiment speaks of that."}
      </p>
    </>
  );
}

function State({ name }: { name: string }) {
  const run = newest.value[name];
  const result = results.value[name]?.[0]?.result;
  if (run?.state === "running" || run?.state === "waiting") return <span class="quiet">{standing(run)}</span>;
  if (!result) return null;
  return (
    <span class="lab-mark" data-held={result.held}>
      {result.held ? "held" : "did not hold"}
    </span>
  );
}

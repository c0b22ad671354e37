import { useSignalEffect } from "@preact/signals";
import { keyWanted, reachable } from "../api";
import { address, place } from "../route";
import { List } from "./List";
import { One } from "./One";
import { experiments, listError, loadExperiments } from "./runs";

/** The experiments of the lab, or one of them. */
export function Lab() {
  const [name] = place.value;
  useSignalEffect(() => {
    if (!keyWanted.value && reachable.value && experiments.value === null) void loadExperiments();
  });
  const found = experiments.value?.find((one) => one.name === name);
  return (
    <div class="lab">
      {found ? (
        <One key={found.name} experiment={found} />
      ) : (
        <>
          <h1>Lab</h1>
          {listError.value && (
            <p class="error" role="alert">
              {listError.value}
            </p>
          )}
          {name && experiments.value && (
            <p class="error" role="alert">
              There is no experiment “{name}”. <a href={address("lab")}>See all of them</a>
            </p>
          )}
          {!name && experiments.value && <List all={experiments.value} />}
        </>
      )}
    </div>
  );
}

import type { Result, Run } from "./api";
import { figure, took, words } from "./text";

const named = (run: Run, start: string) => run.files.find((url) => url.split("/").at(-1)?.startsWith(start));

/** The figure of a run; it opens in full. */
export function Figure({ run, label }: { run: Run; label: string }) {
  const url = named(run, "figure");
  if (!url) return null;
  return (
    <a class="lab-figure" href={url} target="_blank" rel="noreferrer">
      <img src={url} alt={label} />
    </a>
  );
}

function Moving({ run }: { run: Run }) {
  const url = named(run, "animation");
  if (!url) return null;
  const label = `The animation of ${run.name}`;
  if (!url.endsWith(".mp4")) return <img class="lab-moving" src={url} alt={label} />;
  return <video class="lab-moving" src={url} aria-label={label} controls loop muted playsInline />;
}

/** What a run found: its figure, its animation, and every number. */
export function Shown({ run, result }: { run: Run; result: Result }) {
  const numbers = Object.entries(result.numbers);
  const settings = Object.entries(result.settings);
  return (
    <section class="card stack" aria-label="Result">
      <h2>Result</h2>
      <Figure run={run} label={`The figure of ${run.name}`} />
      <Moving run={run} />
      <p class="quiet">
        {settings.map(([name, value]) => `${words(name)} ${value}`).join(" · ")} · took {took(result.seconds)}
      </p>
      <details>
        <summary>All {numbers.length} numbers</summary>
        <table class="lab-table">
          <caption class="hidden">All numbers</caption>
          <tbody>
            {numbers.map(([name, value]) => (
              <tr key={name}>
                <th scope="row">{words(name)}</th>
                <td>{figure(value)}</td>
              </tr>
            ))}
          </tbody>
        </table>
      </details>
    </section>
  );
}

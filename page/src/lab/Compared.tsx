import type { Result, Run } from "./api";
import { Figure } from "./Shown";
import { figure, title, took, words } from "./text";

type Row = readonly [string, string, string];

/** The last two results side by side. */
export function Compared({ now, before }: { now: Run; before: Run }) {
  if (!now.result || !before.result) return null;
  return (
    <section class="card stack" aria-label="Comparison">
      <h2>Beside the run before</h2>
      <div class="lab-pair">
        <Figure run={before} label="The figure of the run before" />
        <Figure run={now} label="The figure of this run" />
      </div>
      <table class="lab-table lab-compared">
        <caption class="hidden">The last two runs</caption>
        <thead>
          <tr>
            <td />
            <th scope="col">before</th>
            <th scope="col">now</th>
          </tr>
        </thead>
        <tbody>
          {rows(before.result, now.result).map(([name, one, other]) => (
            <tr key={name} data-same={one === other}>
              <th scope="row">{name}</th>
              <td>{one}</td>
              <td>{other}</td>
            </tr>
          ))}
        </tbody>
      </table>
    </section>
  );
}

function rows(before: Result, now: Result): Row[] {
  const verdict = (one: Result) => (one.held ? "held" : "did not hold");
  const changed = Object.keys(now.settings).filter((name) => now.settings[name] !== before.settings[name]);
  const number = (one: Result, name: string) => {
    const value = one.numbers[name];
    return value === undefined ? "–" : figure(value);
  };
  return [
    ...changed.map((name): Row => [title(name), String(before.settings[name]), String(now.settings[name])]),
    ["The claim", verdict(before), verdict(now)],
    ...now.criterion.map(({ number: name }): Row => [words(name), number(before, name), number(now, name)]),
    ["Time", took(before.seconds), took(now.seconds)],
  ];
}

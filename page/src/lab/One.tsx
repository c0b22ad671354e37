import { useSignalEffect } from "@preact/signals";
import { address, place } from "../route";
import { Icon } from "../ui/Icon";
import type { Experiment } from "./api";
import { Compared } from "./Compared";
import { Criteria } from "./Criteria";
import { Form } from "./Form";
import { Prose } from "./Prose";
import { results, resume } from "./runs";
import { Shown } from "./Shown";
import { paragraphs } from "./text";

/** One experiment: its claim, a form to run it, what came out, and its prose. */
export function One({ experiment }: { experiment: Experiment }) {
  useSignalEffect(() => {
    const [name, run] = place.value;
    if (name === experiment.name && run) void resume(name, run);
  });
  const [heading, ...rest] = paragraphs(experiment.about);
  const [now, before] = results.value[experiment.name] ?? [];
  return (
    <>
      <a class="lab-back" href={address("lab")}>
        <Icon name="left" /> All experiments
      </a>
      <div class="lab-head">
        <p class="lab-name">
          <b>{experiment.name}</b>
        </p>
        <h1>{heading?.text.replace(/\.$/, "") ?? experiment.name}</h1>
      </div>
      <div class="lab-one">
        <section class="card stack lab-claim">
          <div class="stack tight">
            <h2>Claim</h2>
            <p class="lab-said">{experiment.claim}</p>
          </div>
          <Criteria experiment={experiment} result={now?.result ?? null} />
        </section>
        <Form experiment={experiment} />
        <div class="stack lab-rest">
          {now?.result && <Shown run={now} result={now.result} />}
          {now?.result && before?.result && <Compared now={now} before={before} />}
          <Prose parts={rest} />
        </div>
      </div>
    </>
  );
}

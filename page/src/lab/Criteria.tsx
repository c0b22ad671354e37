import type { Experiment, Result } from "./api";
import { figure, relation, words } from "./text";

/** The numbers that the claim states, and what was measured once it has run. */
export function Criteria({ experiment, result }: { experiment: Experiment; result: Result | null }) {
  return (
    <>
      <table class="lab-table">
        <caption class="hidden">Criteria</caption>
        <thead>
          <tr>
            <th scope="col">The claim holds if</th>
            <th scope="col">is</th>
            {result && <th scope="col">measured</th>}
            {result && <th scope="col">held</th>}
          </tr>
        </thead>
        <tbody>
          {experiment.criteria.map((text) => {
            const [number = "", sign = "", bound = ""] = text.split(" ");
            const measured = result?.criterion.find((one) => one.number === number && one.relation === sign);
            return (
              <tr key={text}>
                <th scope="row">{words(number)}</th>
                <td>
                  {relation(sign)} {figure(Number(bound))}
                </td>
                {result && <td>{measured ? figure(measured.value) : "–"}</td>}
                {result && (
                  <td>
                    <b class="lab-mark" data-held={measured?.held}>
                      {measured?.held ? "yes" : "no"}
                    </b>
                  </td>
                )}
              </tr>
            );
          })}
        </tbody>
      </table>
      <p class="lab-verdict" role="status">
        {result && (
          <>
            <b class="lab-mark" data-held={result.held}>
              {result.held ? "The claim held." : "The claim did not hold."}
            </b>{" "}
            {result.reason}
          </>
        )}
      </p>
    </>
  );
}

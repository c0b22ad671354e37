import type { ComponentChildren } from "preact";

interface Props {
  levels: readonly (readonly [number, number])[];
  at: number;
  onPick: (step: number) => void;
  children: ComponentChildren;
}

const [WIDTH, HEIGHT, EDGE] = [600, 120, 8];

/** Signal and noise over the steps, and the step that is shown; sigmas above 1 are drawn on a log scale. */
export function Curves({ levels, at, onPick, children }: Props) {
  const most = Math.max(1, ...levels.map(([alpha, sigma]) => Math.max(alpha, sigma)));
  const shrink = (value: number) => (most > 1.5 ? Math.log1p(value) / Math.log1p(most) : value / most);
  const x = (step: number) => EDGE + (step / (levels.length - 1)) * (WIDTH - 2 * EDGE);
  const y = (value: number) => HEIGHT - EDGE - shrink(value) * (HEIGHT - 2 * EDGE);
  const line = (part: 0 | 1) =>
    levels.map((level, step) => `${x(step).toFixed(1)},${y(level[part]).toFixed(1)}`).join(" ");
  return (
    <figure class="curves">
      <svg
        viewBox={`0 0 ${WIDTH} ${HEIGHT}`}
        preserveAspectRatio="none"
        role="img"
        aria-label="Curves of signal and noise over the steps"
        onPointerDown={(event) => {
          const box = event.currentTarget.getBoundingClientRect();
          onPick(Math.round(((event.clientX - box.left) / box.width) * (levels.length - 1)));
        }}
      >
        <line class="now" x1={x(at)} x2={x(at)} y1="0" y2={HEIGHT} />
        <polyline class="alpha" points={line(0)} />
        <polyline class="sigma" points={line(1)} />
      </svg>
      <figcaption>{children}</figcaption>
    </figure>
  );
}

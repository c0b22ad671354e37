import { computed } from "@preact/signals";
import { isPlaying, t } from "./clock";
import { positions } from "./paint";
import type { PlaneState, States } from "./server";
import { plane, walks } from "./state";

interface Measure {
  distance: number;
  spread: number;
}

/** Of points that rest: how far they are from the data (median), and how far they are spread. */
const measures = computed<(Measure | null)[]>(() => {
  const nodes = plane.value?.nodes;
  if (isPlaying.value || !nodes) return [];
  return walks.value.map((states) => (states ? measure(states, t.value, nodes) : null));
});

function measure(states: States, at: number, nodes: PlaneState["nodes"]): Measure {
  const found = positions(states, at);
  const distances: number[] = [];
  let [sumX, sumY, squares] = [0, 0, 0];
  for (let i = 0; i < found.length; i += 2) {
    const [x, y] = [found[i] ?? 0, found[i + 1] ?? 0];
    let nearest = Number.POSITIVE_INFINITY;
    for (const node of nodes) {
      const apart = (x - node[0]) ** 2 + (y - node[1]) ** 2;
      if (apart < nearest) nearest = apart;
    }
    distances.push(Math.sqrt(nearest));
    sumX += x;
    sumY += y;
    squares += x * x + y * y;
  }
  const count = states.count;
  const variance = (squares - (sumX * sumX + sumY * sumY) / count) / (2 * count);
  distances.sort((a, b) => a - b);
  return { distance: distances[count >> 1] ?? 0, spread: Math.sqrt(Math.max(0, variance)) };
}

export function Measures() {
  const found = measures.value;
  return (
    <ul class="measures" data-hidden={found.length === 0}>
      {found.map(
        (one, k) =>
          one && (
            <li key={k === 0 ? "first" : "second"} data-way={k === 0 ? "first" : "second"}>
              <i /> distance to the data <b class="distance">{one.distance.toFixed(3)}</b>, spread{" "}
              <b class="spread">{one.spread.toFixed(2)}</b>
            </li>
          ),
      )}
    </ul>
  );
}

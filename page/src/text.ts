/** Figures in words. */

export function seconds(value: number): string {
  if (value < 1) return "under a second";
  if (value < 90) return `${Math.round(value)} s`;
  if (value < 5400) return `${Math.round(value / 60)} min`;
  return `${Math.round(value / 3600)} h`;
}

const DAY = 86400;

export function ago(when: number, now = Date.now() / 1000): string {
  const past = now - when;
  if (past < 60) return "just now";
  if (past < 3600) return `${Math.round(past / 60)} min ago`;
  if (past < DAY) return `${Math.round(past / 3600)} h ago`;
  return new Date(when * 1000).toLocaleDateString(undefined, {
    day: "numeric",
    month: "short",
    year: "numeric",
  });
}

export const plural = (count: number, word: string): string => `${count} ${word}${count === 1 ? "" : "s"}`;
export const capital = (text: string): string => text.charAt(0).toUpperCase() + text.slice(1);

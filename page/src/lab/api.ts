/** The lab's part of the server's answers. */

import { json, posted } from "../api";

export type Value = string | number | boolean;

export interface Schema {
  type?: string;
  enum?: string[];
  minimum?: number;
  maximum?: number;
  exclusiveMinimum?: number;
  exclusiveMaximum?: number;
}

export interface Experiment {
  name: string;
  claim: string;
  criteria: string[];
  about: string;
  settings: Record<string, Value>;
  schemas: Record<string, Schema>;
}

export interface Condition {
  number: string;
  relation: "<=" | ">=";
  bound: number;
  value: number;
  held: boolean;
}

export interface Result {
  criterion: Condition[];
  held: boolean;
  reason: string | null;
  numbers: Record<string, number>;
  settings: Record<string, Value>;
  seconds: number;
}

export interface Run {
  id: string;
  name: string;
  state: "waiting" | "running" | "done" | "failed" | "cancelled";
  what: string;
  progress: number | null;
  error: string | null;
  result: Result | null;
  files: string[];
}

const at = (run: string) => `/lab/runs/${encodeURIComponent(run)}`;

export const getExperiments = () => json<Experiment[]>("/lab");
export const getRun = (run: string) => json<Run>(at(run));
export const cancelRun = (run: string) => json<Run>(`${at(run)}/cancel`, { method: "POST" });
export const beginRun = (name: string, settings: Record<string, Value>) =>
  json<Run>(`/lab/${encodeURIComponent(name)}`, posted({ settings }));

import { defineConfig } from "vite";

const server = "http://127.0.0.1:7860";
const paths = ["/jobs", "/models", "/words", "/plan", "/planes", "/read", "/session", "/health", "/lab"];

export default defineConfig({
  base: "./",
  build: {
    outDir: "../src/scorefield/server/page",
    emptyOutDir: true,
    target: "es2022",
    cssTarget: ["chrome123", "firefox120", "safari17.5"],
    modulePreload: { polyfill: false },
    assetsInlineLimit: 0,
    reportCompressedSize: false,
  },
  oxc: { jsx: { runtime: "automatic", importSource: "preact" } },
  server: { proxy: Object.fromEntries(paths.map((path) => [path, server])) },
});

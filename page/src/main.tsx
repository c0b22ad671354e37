import "./style/base.css";
import "./style/make.css";
import "./style/inside.css";
import "./style/lab.css";
import "./style/play.css";
import "./ui/theme";
import { render } from "preact";
import { App } from "./App";

const root = document.getElementById("app");
if (root) render(<App />, root);

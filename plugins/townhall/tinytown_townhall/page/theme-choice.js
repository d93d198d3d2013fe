// Which theme is used: that of the system, light or dark.
import { set, state } from "./live.js";

const THEMES = ["auto", "light", "dark"];

export function nextTheme() {
  const theme = THEMES[(THEMES.indexOf(state.theme) + 1) % THEMES.length];
  localStorage.setItem("theme", theme);
  document.documentElement.dataset.theme = theme;
  set({ theme });
}

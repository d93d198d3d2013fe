// What every part of the page is made of: preact with htm in place of a build step. All text goes through it as text nodes.
import { Component, Fragment, createContext, h, render } from "./vendor/preact.mjs";
import { useCallback, useContext, useEffect, useLayoutEffect, useMemo, useReducer, useRef, useState } from "./vendor/hooks.mjs";
import htm from "./vendor/htm.mjs";

export const html = htm.bind(h);
export {
  Component, Fragment, createContext, h, render,
  useCallback, useContext, useEffect, useLayoutEffect, useMemo, useReducer, useRef, useState,
};

/** A component that is drawn again only if one of its properties is another value. */
export function memo(draw) {
  return class extends Component {
    shouldComponentUpdate(next) {
      for (const name in next) if (next[name] !== this.props[name]) return true;
      for (const name in this.props) if (!(name in next)) return true;
      return false;
    }
    render(props) {
      return draw(props);
    }
  };
}

/** Class names, without those that are not wanted. */
export function cx(...names) {
  return names.filter(Boolean).join(" ");
}

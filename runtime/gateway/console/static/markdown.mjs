// Markdown as a model writes it. It is read into parts, which become elements and text nodes here: no text
// becomes markup, so whatever is written in it, nothing runs and nothing is loaded.
import { Copy } from "./copy.mjs";
import { lexer } from "./vendor/marked.mjs";
import { html, useMemo } from "./view.mjs";

/** Longer texts are shown as they are: some take a time that grows with the square of their length. */
const LENGTH_MAX = 20000;
/** What is nested deeper is shown as it is written. */
const DEPTH_MAX = 16;
/** Where a link may lead. Any other one, and any picture, is shown as it is written. */
const LINK = /^(?:https?:\/\/|mailto:)/i;
const ENTITIES = { "&amp;": "&", "&lt;": "<", "&gt;": ">", "&quot;": '"', "&#39;": "'", "&nbsp;": "\u00a0" };

/** A model's words. */
export function Markdown({ text }) {
  const parts = useMemo(() => partsOf(text), [text]);
  if (parts === null) return html`<p class="whole-text" dir="auto">${text}</p>`;
  return html`<div class="prose">${blocks(parts, 0)}</div>`;
}

/** What the text is made of; null if it is too long or too deep to be read. */
function partsOf(text) {
  if (text.length > LENGTH_MAX) return null;
  try {
    return lexer(text, { gfm: true, breaks: true });
  } catch {
    return null;
  }
}

const blocks = (parts, depth) => parts.map((part) => block(part, depth + 1));
const inlines = (parts, depth) => parts.map((part) => inline(part, depth + 1));
const asWritten = (part) => html`<p class="whole-text" dir="auto">${part.raw.trimEnd()}</p>`;

function block(part, depth) {
  if (depth > DEPTH_MAX) return asWritten(part);
  switch (part.type) {
    case "space":
    case "def":
      return null;
    case "hr":
      return html`<hr />`;
    case "heading":
      return html`<p class=${part.depth < 3 ? "title" : "title small"} dir="auto">
        ${inlines(part.tokens, depth)}</p>`;
    case "paragraph":
      return html`<p dir="auto">${inlines(part.tokens, depth)}</p>`;
    case "code":
      return html`<div class="code"><pre tabindex="0"><code>${part.text}</code></pre>
        <${Copy} text=${part.text} label="Copy the code" /></div>`;
    case "blockquote":
      return html`<blockquote>${blocks(part.tokens, depth)}</blockquote>`;
    case "list": {
      const items = part.items.map((item) => html`<li dir="auto">${blocks(item.tokens, depth)}</li>`);
      return part.ordered ? html`<ol start=${part.start}>${items}</ol>` : html`<ul>${items}</ul>`;
    }
    case "table":
      return table(part, depth);
    case "html":
      return asWritten(part);
    default:
      return inline(part, depth);
  }
}

function table({ header, rows }, depth) {
  const cells = (row, tag) =>
    row.map(
      (cell) => html`<${tag} dir="auto" class=${cell.align === "right" ? "number" : ""}>
      ${inlines(cell.tokens, depth)}</${tag}>`,
    );
  return html`<div class="scrolls" tabindex="0" role="region" aria-label="Table"><table>
    <thead><tr>${cells(header, "th")}</tr></thead>
    <tbody>${rows.map((row) => html`<tr>${cells(row, "td")}</tr>`)}</tbody></table></div>`;
}

function inline(part, depth) {
  if (depth > DEPTH_MAX) return part.raw;
  switch (part.type) {
    case "strong":
      return html`<strong>${inlines(part.tokens, depth)}</strong>`;
    case "em":
      return html`<em>${inlines(part.tokens, depth)}</em>`;
    case "del":
      return html`<del>${inlines(part.tokens, depth)}</del>`;
    case "codespan":
      return html`<code>${part.text}</code>`;
    case "br":
      return html`<br />`;
    case "checkbox":
      return part.checked ? "☑ " : "☐ ";
    case "link":
      if (!LINK.test(part.href)) return part.raw;
      return html`<a href=${part.href} title=${part.href} target="_blank" rel="noopener noreferrer">
        ${inlines(part.tokens, depth)}</a>`;
    case "escape":
      return part.text;
    case "text":
      return part.tokens ? inlines(part.tokens, depth) : plain(part.text);
    default:
      return part.raw;
  }
}

const plain = (text) => text.replace(/&(?:amp|lt|gt|quot|#39|nbsp);/g, (entity) => ENTITIES[entity]);

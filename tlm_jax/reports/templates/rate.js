"use strict";
// Whatever comes from the file is put in as text, never as markup.
const at = id => document.getElementById(id);
const made = (tag, text) => {
  const element = document.createElement(tag);
  if (text !== undefined) element.textContent = text;
  return element;
};
let rater, fields, values, done, place = 0, item, active = 0, loading = 0;
// Saved one after the other, in the order in which they were given.
const waiting = [];
let sending = false;

const ask = async (path, asked) => {
  let answer;
  try {
    answer = await fetch(path, {method: "POST", headers: {"Content-Type": "application/json"},
      body: JSON.stringify(asked)});
  } catch {
    throw new Error("the server does not answer");
  }
  const found = await answer.json();
  if (!answer.ok) throw new Error(found.error);
  return found;
};
const alertOf = (text, again) => {
  at("alert").hidden = !text;
  at("alert").firstElementChild.textContent = text;
  at("alert").lastElementChild.onclick = again;
};
const showProgress = () => {
  const count = done.filter(Boolean).length;
  at("bar").max = done.length;
  at("bar").value = count;
  const all = count === done.length;
  at("count").textContent = `${place + 1} of ${done.length}, `
    + (all ? "all rated: thank you" : `${count} rated`);
  at("previous").disabled = place === 0;
  at("next").textContent = place === done.length - 1 ? "To the first unrated" : "Next →";
};
const showValues = () => fields.forEach((field, row) => {
  const set = at("fields").children[row];
  set.classList.toggle("active", row === active);
  set.querySelectorAll("button").forEach((button, number) =>
    button.setAttribute("aria-pressed", String(item.values[field.name] === values[number].value)));
});
const parts = (into, listed) => into.replaceChildren(...listed.map(part => {
  const section = made("section");
  section.append(made("h2", part.heading), made("div", part.text));
  return section;
}));
const show = async wanted => {
  const number = ++loading;
  try {
    const found = await ask("item", {rater, place: wanted});
    if (number !== loading) return;
    // What is still on its way to the disk is newer than what came from there.
    for (const one of waiting) if (one.item === found.item) Object.assign(found.values, one.values);
    [place, item] = [wanted, found];
  } catch (error) {
    return alertOf(`The item cannot be shown: ${error.message}.`, () => show(wanted));
  }
  if (!waiting.length) alertOf("");
  active = Math.max(0, fields.findIndex(field => item.values[field.name] === undefined));
  parts(at("given"), item.given);
  parts(at("rated"), item.rated);
  at("saved").textContent = "";
  showProgress();
  showValues();
  scrollTo(0, 0);
};
const send = async () => {
  if (sending) return;
  sending = true;
  try {
    while (waiting.length) {
      const {place: of, ...asked} = waiting[0];
      done[of] = (await ask("rate", asked)).done;
      waiting.shift();
      showProgress();
    }
    at("saved").textContent = "Saved";
    alertOf("");
  } catch (error) {
    at("saved").textContent = "Not saved";
    alertOf(`Not saved: ${error.message}.`, send);
    setTimeout(send, 3000);
  } finally {
    sending = false;
  }
};
const rate = (row, number) => {
  const [name, value] = [fields[row].name, values[number].value];
  item.values[name] = value;
  waiting.push({rater, item: item.item, values: {[name]: value}, place});
  at("saved").textContent = "Saving";
  active = Math.min(row + 1, fields.length - 1);
  showValues();
  send();
};
const firstUnrated = () => Math.max(0, done.indexOf(false));
const previous = () => place > 0 && show(place - 1);
const next = () => show(place < done.length - 1 ? place + 1 : firstUnrated());
const build = () => at("fields").replaceChildren(...fields.map((field, row) => {
  const set = made("fieldset"), buttons = made("div");
  const name = field.name[0].toUpperCase() + field.name.slice(1);
  buttons.className = "values";
  values.forEach((value, number) => {
    const button = made("button", String(value.value));
    button.type = "button";
    button.append(made("small", value.meaning));
    button.addEventListener("click", () => rate(row, number));
    buttons.append(button);
  });
  set.append(made("legend", name), made("p", field.question), buttons);
  set.addEventListener("focusin", () => { active = row; showValues(); });
  return set;
}));
const start = async name => {
  try {
    ({rater, fields, values, done} = await ask("start", {rater: name}));
  } catch (error) {
    at("start").hidden = false;
    return alertOf(`${error.message}.`, () => start(name));
  }
  sessionStorage.setItem("rater", rater);
  alertOf("");
  at("start").hidden = true;
  at("rating").hidden = false;
  const keys = values.map((value, number) => `${number + 1} ${value.value}`);
  at("keys").textContent = (typeof values[0].value === "number" ? "Keys: 1 to 5 rates"
    : `Keys: ${keys.join(", ")}`) + ", ↑ and ↓ choose what, Enter or → next, ← previous.";
  build();
  await show(firstUnrated());
  document.activeElement.blur();
};
addEventListener("keydown", event => {
  if (!item || event.ctrlKey || event.metaKey || event.altKey || event.repeat) return;
  const number = Number(event.key) - 1;
  const onButton = document.activeElement.tagName === "BUTTON";
  if (Number.isInteger(number) && number >= 0 && number < values.length) rate(active, number);
  else if (event.key === "ArrowRight" || (event.key === "Enter" && !onButton)) next();
  else if (event.key === "ArrowLeft") previous();
  else if (event.key === "ArrowDown") { active = Math.min(active + 1, fields.length - 1); showValues(); }
  else if (event.key === "ArrowUp") { active = Math.max(active - 1, 0); showValues(); }
  else return;
  event.preventDefault();
});
addEventListener("beforeunload", event => { if (waiting.length) event.preventDefault(); });
at("previous").addEventListener("click", previous);
at("next").addEventListener("click", next);
at("start").addEventListener("submit", event => {
  event.preventDefault();
  start(at("name").value);
});
// The token is in a cookie by now; the address shall not show it to who looks on.
history.replaceState(null, "", location.pathname);
const known = sessionStorage.getItem("rater");
if (known) start(known);
else { at("start").hidden = false; at("name").focus(); }

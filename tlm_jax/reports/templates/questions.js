for (const controls of document.querySelectorAll(".controls")) {
  const [find, which, order] = controls.querySelectorAll("input, select");
  const list = controls.nextElementSibling, blocks = [...list.children];
  const shown = () => {
    const text = find.value.toLowerCase(), [place, right] = which.value;
    let count = 0;
    for (const block of blocks) {
      const fits = (!which.value || block.dataset.right[place] === right)
        && (!text || block.textContent.toLowerCase().includes(text));
      block.hidden = !fits;
      count += fits;
    }
    controls.querySelector("output").textContent = count.toLocaleString("en") + " shown";
  };
  find.addEventListener("input", shown);
  which.addEventListener("change", shown);
  order.addEventListener("change", () => {
    blocks.sort((a, b) => a.dataset[order.value] - b.dataset[order.value]);
    list.append(...blocks);
  });
}

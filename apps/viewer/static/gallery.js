// Pictures of codes in a grid. `data` comes from gallery.py; a click goes back as the trigger `chosen`, a code.

export default function ({ data, parentElement, setTriggerValue }) {
  const root = parentElement.querySelector(".gallery");
  if (root.dataset.id !== data.id) {
    root.dataset.id = data.id;
    root.innerHTML = "";
    data.tiles.forEach((tile, number) => {
      const button = document.createElement("button");
      button.dataset.code = tile.code;
      button.title = `code ${tile.code}`;
      const picture = document.createElement("span");
      picture.className = "picture";
      picture.style.backgroundImage = `url("${data.sprite}")`;
      picture.style.backgroundSize = `${data.tiles.length * 100}% 100%`;
      const steps = Math.max(1, data.tiles.length - 1);
      picture.style.backgroundPosition = `${(number / steps) * 100}% 0`;
      const code = document.createElement("span");
      code.className = "code";
      code.style.background = tile.colour;
      code.textContent = tile.code;
      const label = document.createElement("span");
      label.className = "label";
      label.textContent = tile.label;
      button.append(picture, code, label);
      root.append(button);
    });
  }
  for (const button of root.children) {
    const code = Number(button.dataset.code);
    button.classList.toggle("chosen", code === data.chosen);
    button.setAttribute("aria-pressed", code === data.chosen);
    button.onclick = () => setTriggerValue("chosen", code);
  }
}

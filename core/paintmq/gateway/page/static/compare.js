// Before and after, one over the other, with a slider between them.

const $ = (id) => document.getElementById(id);
let addresses = [];

export function showComparison(before, after) {
  addresses.forEach((each) => URL.revokeObjectURL(each));
  addresses = [before, after].map((each) => URL.createObjectURL(each));
  [$("before").src, $("after").src] = addresses;
  $("slider").value = 500;
  split();
  $("compare").hidden = false;
  $("after").decode().then(split, () => null);
}

export function hideComparison() { $("compare").hidden = true; }

function split() {
  const share = $("slider").value / 1000;
  const box = $("compare"), image = $("after");
  // The slider is as wide as the box; the pictures may be narrower.
  const scale = Math.min(box.clientWidth / (image.naturalWidth || 1), box.clientHeight / (image.naturalHeight || 1));
  const wide = Math.min(box.clientWidth, (image.naturalWidth || 1) * scale), left = (box.clientWidth - wide) / 2;
  const at = Math.min(left + wide, Math.max(left, share * box.clientWidth));
  image.style.clipPath = `inset(0 0 0 ${at}px)`;
  $("before").style.clipPath = `inset(0 ${box.clientWidth - at}px 0 0)`;
  box.querySelector(".split").style.left = `${at}px`;
}

$("slider").addEventListener("input", split);
new ResizeObserver(split).observe($("compare"));

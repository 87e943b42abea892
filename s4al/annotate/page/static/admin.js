// The page of whoever runs the round: opens an answer again.

if (new URLSearchParams(location.search).has("token")) history.replaceState(null, "", "/admin"); // the cookie has it

document.addEventListener("click", async (event) => {
  const button = event.target.closest("button[data-reopen]");
  if (!button) return;
  button.disabled = true;
  const response = await fetch(`/api/regions/${button.dataset.reopen}/reopen`, { method: "POST" });
  if (response.ok) {
    button.closest("figure").classList.add("gone");
    button.textContent = "Asked again";
  } else {
    const { what, remedy } = await response.json();
    button.disabled = false;
    button.textContent = `${what} ${remedy}`;
  }
});

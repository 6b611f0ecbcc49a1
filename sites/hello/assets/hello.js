// Asks the Python service for its greeting and shows it in the third card.
const output = document.querySelector("#api");

try {
  const response = await fetch("/api/");
  if (!response.ok) throw new Error(`answered ${response.status}`);
  const { message, visits, python } = await response.json();
  output.textContent = `${message} Visit number ${visits}, counted by Python ${python}.`;
  output.dataset.state = "answered";
} catch (error) {
  output.textContent = `The service under /api/ does not answer: ${error.message}`;
  output.dataset.state = "failed";
}

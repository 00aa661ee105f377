"""What people need of a page, asked of the page itself: axe's rules, its width, and where the keyboard gets to."""

from importlib.resources import files
from typing import Any, Final, cast

from playwright.sync_api import Page

AXE: Final = (files("axe_playwright_python") / "axe.min.js").read_text(encoding="utf-8")
# Stylesheets are not fetched again: axe takes what they import to be beside the page, and complains.
RUN: Final = "axe.run(document, {resultTypes: ['violations'], preload: false})"
GRAVE: Final = frozenset({"serious", "critical"})
MOST_STOPS: Final = 300

# The script that a keyboard walk needs. `stop` tells where the focus is (null: it has left the page), and of the stop
# before whether it looks as it did: then one could not see the focus there. `missed`: what can be used, and was never
# reached; of a group of radio buttons or tabs one stop leads to all.
WALK: Final = """() => {
  const usable = 'a[href], button, input, select, textarea, summary';
  const exempt = ':disabled, [type=radio], [type=hidden], [tabindex="-1"]';
  const reached = new Set();
  let before = null;
  const all = (root) => [...root.querySelectorAll('*')].flatMap(
    (element) => [element, ...(element.shadowRoot ? all(element.shadowRoot) : [])]);
  const isThere = (element) => element.checkVisibility({visibilityProperty: true}) && element.getClientRects().length;
  const called = (element) => element.outerHTML.slice(0, 160);
  // A card may show it for the link in it, a label for its button.
  const look = (element) => [element, element.closest('label'), element.closest('article')].map((one) => {
    const style = one && getComputedStyle(one);
    return style && [style.outlineStyle, style.boxShadow, style.borderColor, style.backgroundColor, style.top].join();
  }).join();
  const inFocus = () => {
    let at = document.activeElement;
    while (at?.shadowRoot?.activeElement) at = at.shadowRoot.activeElement;
    return at === document.body ? null : at;
  };
  window.walk = {
    stop: () => {
      const at = inFocus();
      const unseen = before && before.element !== at && look(before.element) === before.look;
      const answer = {is: at && called(at), unseen: unseen ? called(before.element) : null};
      if (at) reached.add(at);
      before = at && {element: at, look: look(at)};
      return answer;
    },
    // Behind an open dialog nothing can be used.
    missed: () => all(document.querySelector('dialog:modal') ?? document)
      .filter((element) => element.matches(usable) && !element.matches(exempt))
      .filter((element) => isThere(element) && !reached.has(element))
      .map(called),
  };
}"""


def violations(page: Page) -> list[str]:
    """What axe finds serious or critical, a line for each element: the rule, the element, and what is wrong."""
    page.evaluate(AXE)
    found: dict[str, Any] = page.evaluate(RUN)
    return [
        f"{violation['id']}: {node['target']} {node['html'][:160]} {node['failureSummary']}"
        for violation in found["violations"]
        if violation["impact"] in GRAVE
        for node in violation["nodes"]
    ]


def overhang(page: Page) -> int:
    """By how many pixels a page is wider than its window."""
    return cast("int", page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth"))


def walk(page: Page) -> tuple[list[str], list[str]]:
    """Press Tab all round a page: what was not reached, and where one does not see the focus."""
    page.evaluate(WALK)
    unseen: list[str] = []
    # It begins where somebody clicked last: left once, there may be more before that.
    times_left = 0
    for _ in range(MOST_STOPS):
        page.keyboard.press("Tab")
        stop = page.evaluate("walk.stop()")
        if stop["unseen"]:
            unseen.append(stop["unseen"])
        times_left += stop["is"] is None
        if times_left == 2:
            break
    else:
        raise AssertionError(f"Tab never leaves the page: {stop}")
    return page.evaluate("walk.missed()"), unseen

"""Parts of a message on its screen: on request, one after the other, harmless."""

from mailctl.tui.desk import MessageRef
from mailctl.tui.screens.message import MessageView
from tests.console.tui.doubles import StillFleet, summary
from tests.console.tui.test_screens import app_over, ready, shown
from tests.console.tui.waiting import until


async def test_v_goes_through_the_parts_and_hides_them() -> None:
    fleet = StillFleet()
    app = app_over(fleet)
    async with app.run_test(size=(120, 90)) as pilot:
        await ready(pilot)
        app.message = MessageRef("mx1", summary(1).message_id, 0)
        await pilot.press("5")
        await until(pilot, lambda: isinstance(app.screen, MessageView) and "Headers" in shown(pilot))
        assert "parts" not in fleet.asked
        await pilot.press("v")
        await until(pilot, lambda: "[31m0" in shown(pilot) and "text/html" in shown(pilot))
        assert "\x1b" not in shown(pilot)
        assert "text/plain, 1 of 2 parts; this is on record" in shown(pilot)
        await pilot.press("v")
        await until(pilot, lambda: "[31m1" in shown(pilot))
        assert "text/html, 2 of 2 parts; this is on record" in shown(pilot)
        await pilot.press("v")
        await until(pilot, lambda: "text/html" not in shown(pilot))
        assert fleet.asked.count("parts") == 2


async def test_the_first_part_comes_into_view_and_g_goes_through_the_page() -> None:
    app = app_over(StillFleet())
    async with app.run_test(size=(80, 24)) as pilot:
        await ready(pilot)
        app.message = MessageRef("mx1", summary(1).message_id, 0)
        await pilot.press("5")
        await until(pilot, lambda: isinstance(app.screen, MessageView) and "Why it waits" in shown(pilot))
        await pilot.press("v")
        await until(pilot, lambda: "text/html" in shown(pilot))
        await pilot.press("g")
        await until(pilot, lambda: "Why it waits" in shown(pilot) and "text/html" not in shown(pilot))
        await pilot.press("G")
        await until(pilot, lambda: "text/html" in shown(pilot) and "Why it waits" not in shown(pilot))

"""What an operator does in the page, by its buttons, is done in both records. Named for reference-systems.md."""

from collections.abc import AsyncIterator

import pytest
from playwright.async_api import Browser, Page, expect

from tests.e2e.test_page import opened
from tests.gateway.support import served
from tests.shared.bullmq import Site, fail, submit


@pytest.fixture
async def url(redis_url: str) -> AsyncIterator[str]:
    async with served(redis_url) as house:
        yield house.url


async def press(page: Page, button: str, answer: str | None = None) -> None:
    """A button, and in the question it may ask another."""
    await page.get_by_role("button", name=button).click()
    if answer is not None:
        await page.get_by_role("dialog").get_by_role("button", name=answer).click()
    await expect(page.get_by_role("dialog")).to_have_count(0)


async def test_system_2_a_queue_is_paused_retried_drained_and_cleaned_in_the_page(
    site: Site, url: str, browser: Browser
) -> None:
    failed = [await fail(site) for _ in range(2)]
    delayed = await submit(site, delay=600_000)
    page, complaints = await opened(browser, url)
    await press(page, "Pause: queue films")
    await expect(page.locator("[data-queue=films] .standing").first).to_contain_text("Paused")
    assert await site.queue().isPaused()
    await press(page, "Resume: queue films")
    await expect(page.locator("[data-queue=films] .standing").first).to_be_hidden()
    assert not await site.queue().isPaused()
    await press(page, "Retry failed: queue films", "Leave it")
    assert [await site.state(job_id) for job_id in failed] == ["failed", "failed"]
    await press(page, "Retry failed: queue films", "Retry them")
    await expect(page.locator("[data-queue=films] .note")).to_have_text("2 jobs tried again")
    await page.get_by_role("button", name="Drain: queue films").click()
    await page.get_by_label("Those too that wait for their time").check()
    await page.get_by_role("dialog").get_by_role("button", name="Cancel them").click()
    await expect(page.locator("[data-queue=films] .note")).to_have_text("3 jobs cancelled")
    for job_id in (*failed, delayed):
        await expect(page.locator(f"[data-job='{job_id}']")).to_have_attribute("data-state", "cancelled")
        assert await site.kept(job_id) is None
    last = await fail(site)
    await page.get_by_role("button", name="Clean: queue films").click()
    await page.get_by_label("Which jobs").select_option("failed")
    await page.get_by_label("Ended more than").fill("0")
    await page.get_by_role("dialog").get_by_role("button", name="Forget them").click()
    await expect(page.locator("[data-queue=films] .note")).to_have_text("1 job forgotten")
    assert await site.kept(last) is None
    assert complaints == []


async def test_system_2_a_job_is_seen_whole_promoted_and_removed_in_the_page(
    site: Site, url: str, browser: Browser
) -> None:
    delayed, failed = await submit(site, delay=600_000), await fail(site)
    site.behind.hset(f"bull:films:{failed}", "stacktrace", '["in encode: disk full"]')
    page, complaints = await opened(browser, url)
    row = page.locator(f"[data-job='{delayed}']")
    await row.locator(".more").click()
    await row.get_by_text("Data", exact=True).click()
    await expect(row.get_by_label("Data")).to_contain_text('"film": 7')
    await row.get_by_role("button", name="Promote").click()
    await expect(row).to_have_attribute("data-state", "waiting")
    assert await (await site.kept(delayed)).getState() == "waiting"
    await row.get_by_text("History", exact=True).click()
    await expect(row.get_by_label("History").locator("div")).to_have_count(2)
    await row.get_by_role("button", name="Remove").click()
    await page.keyboard.press("Escape")
    assert await site.kept(delayed) is not None
    await row.get_by_role("button", name="Remove").click()
    await page.get_by_role("dialog").get_by_role("button", name="Remove it").click()
    await expect(row).to_have_attribute("data-state", "cancelled")
    assert await site.kept(delayed) is None
    await page.goto(f"{url}/#job={failed}")
    alone = page.locator(f"[data-job='{failed}']")
    await alone.get_by_text("Stack", exact=True).click()
    await expect(alone.get_by_label("Stack")).to_have_text("in encode: disk full")
    await alone.get_by_role("button", name="Remove").click()
    await page.get_by_role("dialog").get_by_role("button", name="Remove it").click()
    await expect(alone).to_contain_text("keeps this job no more")
    await expect(alone.get_by_role("button", name="Retry")).to_be_hidden()
    assert await site.kept(failed) is None
    assert complaints == []

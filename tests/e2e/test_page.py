"""The page in a real browser, against a real gateway and worker."""

import httpx
from playwright.async_api import Browser, Page, expect

from jobcast.shared.events import JobLog, JobQueued, JobStarted
from jobcast.shared.journal import RedisJournal
from jobcast.shared.redis import connect
from tests.e2e.conftest import Stack

HOSTILE = "<img src=x onerror=alert(1)><script>alert(2)</script>\x1b[2J\u202egpj.exe"


async def opened(browser: Browser, url: str, width: int = 1280) -> tuple[Page, list[str]]:
    """The page, live, and what the browser complained of."""
    page = await browser.new_page(viewport={"width": width, "height": 800})
    complaints: list[str] = []
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.on("console", lambda message: complaints.append(message.text) if message.type == "error" else None)
    page.on("dialog", lambda dialog: complaints.append(dialog.message))
    await page.goto(url)
    await expect(page.locator("#connection")).to_have_attribute("data-kind", "live", timeout=10_000)
    return page, complaints


async def test_a_job_submitted_with_the_form_runs_before_ones_eyes(stack: Stack, browser: Browser) -> None:
    page, complaints = await opened(browser, stack.url)
    await page.select_option("#handler", label="simulate (demo)")
    await page.fill("#field-steps", "20")
    await page.fill("#field-duration", "2")
    await page.press("#field-duration", "Enter")
    row = page.locator("[data-queue=demo] [data-job]")
    await expect(row).to_have_attribute("data-state", "active", timeout=10_000)
    await expect(row).to_have_attribute("data-state", "completed", timeout=10_000)
    await expect(row.locator(".percent")).to_have_text("100%")
    assert complaints == []


async def test_a_running_job_is_cancelled_and_tried_again_by_its_buttons(stack: Stack, browser: Browser) -> None:
    page, complaints = await opened(browser, stack.url)
    job_id = await stack.submit("demo", "simulate", {"steps": 200, "duration": 40})
    row = page.locator(f"[data-job='{job_id}']")
    await expect(row).to_have_attribute("data-state", "active", timeout=10_000)
    await row.get_by_role("button", name="Cancel").click()
    await expect(row).to_have_attribute("data-state", "cancelled", timeout=10_000)
    await row.get_by_role("button", name="Retry").click()
    await expect(row).to_have_attribute("data-state", "active", timeout=10_000)
    await row.get_by_role("button", name="Cancel").click()
    await expect(row).to_have_attribute("data-state", "cancelled", timeout=10_000)
    assert complaints == []


async def test_a_flow_is_shown_as_it_goes_by_what_its_children_do(stack: Stack, browser: Browser) -> None:
    page, complaints = await opened(browser, stack.url)
    steps = {"steps": 20, "duration": 4}
    below = [{"queue": "demo", "name": "simulate", "data": {**steps, **broken}} for broken in ({}, {}, {"failAt": 15})]
    below[2]["opts"] = {"ignoreDependencyOnFailure": True}
    flow = {"queue": "demo", "name": "simulate", "data": {"steps": 1, "duration": 3}, "children": below}
    async with httpx.AsyncClient(base_url=stack.url, trust_env=False) as client:
        parent = (await client.post("/api/v1/flows", json=flow)).raise_for_status().json()["jobId"]
    await page.goto(f"{stack.url}/#job={parent}")
    job = page.locator(f"[data-job='{parent}']")
    bar = job.get_by_role("progressbar").first
    await expect(job).to_contain_text("0 of 3 completed, 3 running", timeout=10_000)
    await expect(job).to_have_attribute("data-state", "waiting-children")
    at = float(await bar.get_attribute("aria-valuenow") or 0)
    assert 0 <= at < 90
    await expect(job).to_contain_text("2 of 3 completed, 1 failed", timeout=15_000)
    await expect(job).to_have_attribute("data-state", "active", timeout=15_000)
    assert float(await bar.get_attribute("aria-valuenow") or 0) >= max(at, 60)
    await expect(job).to_have_attribute("data-state", "completed", timeout=15_000)
    await expect(job).to_contain_text("2 of 3 completed, 1 failed")
    assert complaints == []


async def test_a_job_that_may_not_read_its_path_says_so_in_its_row(stack: Stack, browser: Browser) -> None:
    page, _ = await opened(browser, stack.url)
    await page.select_option("#handler", label="checksum-tree (files)")
    await page.fill("#field-path", "/etc")
    await page.press("#field-path", "Enter")
    row = page.locator("[data-queue=files] [data-job]")
    await expect(row).to_have_attribute("data-state", "failed", timeout=10_000)
    await expect(row).to_contain_text("/etc")


async def test_what_cannot_be_submitted_is_said_beside_the_form(stack: Stack, browser: Browser) -> None:
    page, _ = await opened(browser, stack.url)
    await page.select_option("#handler", label="custom …")
    await page.fill("#field-queue", "demo")
    await page.fill("#field-name", "simulate")
    await page.fill("#field-data", "{not json")
    await page.press("#field-name", "Enter")
    await expect(page.locator("#submit .outcome[data-kind=refused]")).to_be_visible()


async def test_what_jobs_say_stays_text(stack: Stack, browser: Browser) -> None:
    page, complaints = await opened(browser, stack.url)
    client = connect(stack.redis_url, name="test")
    journal = RedisJournal(client)
    common = {"job_id": "hostile", "queue": "demo", "attempt": 1, "timestamp": 1}
    await journal.append(JobQueued(**common, name=HOSTILE, max_attempts=1))  # type: ignore[arg-type]
    await journal.append(JobStarted(**common, queue_to_start_time=0, worker=HOSTILE))  # type: ignore[arg-type]
    await journal.append(JobLog(**common, line=HOSTILE))  # type: ignore[arg-type]
    await client.aclose()
    row = page.locator("[data-job=hostile]")
    await row.locator(".more").click()
    await expect(page.locator("[data-job=hostile] .lines")).to_contain_text("<img src=x onerror=alert(1)>")
    await row.get_by_text("History", exact=True).click()
    await expect(row.get_by_label("History")).to_contain_text("worker <img src=x onerror=alert(1)>")
    assert await page.locator("[data-job=hostile] img").count() == 0
    assert complaints == []


async def test_a_phone_shows_the_page_without_scrolling_sideways(stack: Stack, browser: Browser) -> None:
    page, _ = await opened(browser, stack.url, width=360)
    job_id = await stack.submit("demo", "simulate", {"steps": 3, "duration": 0.3})
    await expect(page.locator(f"[data-job='{job_id}']")).to_have_attribute("data-state", "completed", timeout=10_000)
    assert await page.evaluate("document.documentElement.scrollWidth") <= 360


async def test_a_job_cancelled_before_it_ran_offers_no_second_try(stack: Stack, browser: Browser) -> None:
    page, _ = await opened(browser, stack.url)
    job_id = await stack.submit("demo", "simulate", {"steps": 1, "duration": 0}, delay=60_000)
    row = page.locator(f"[data-job='{job_id}']")
    await expect(row).to_have_attribute("data-state", "delayed", timeout=10_000)
    await row.get_by_role("button", name="Cancel").click()
    await expect(row).to_have_attribute("data-state", "cancelled", timeout=10_000)
    await expect(row.get_by_role("button", name="Retry")).to_be_hidden()


async def test_the_page_says_when_what_it_shows_may_be_old(stack: Stack, browser: Browser) -> None:
    page, complaints = await opened(browser, stack.url)
    job_id = await stack.submit("demo", "simulate", {"steps": 1, "duration": 0})
    await expect(page.locator(f"[data-job='{job_id}']")).to_have_attribute("data-state", "completed", timeout=10_000)
    redis = connect(stack.redis_url, name="test-page")
    try:
        await redis.ping()
        # The gateway's feed is cut, and cannot connect again.
        await redis.config_set("maxclients", 1)
        await redis.client_kill_filter(_type="pubsub")
        await expect(page.locator("#connection")).to_have_attribute("data-kind", "stale", timeout=5000)
        await redis.config_set("maxclients", 10_000)
        await expect(page.locator("#connection")).to_have_attribute("data-kind", "live", timeout=5000)
    finally:
        await redis.config_set("maxclients", 10_000)
        await redis.aclose()
    assert complaints == []

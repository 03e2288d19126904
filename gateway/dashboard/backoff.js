const FIRST = 1000;
const LONGEST = 30_000;

/**
 * How long to wait before try number `tries` (0 for the first after a loss). Doubles up to half a minute; the upper
 * half is drawn by lot, so that a thousand pages that lost the same gateway do not return in the same instant.
 */
export function backoff(tries, random = Math.random) {
  const longest = Math.min(LONGEST, FIRST * 2 ** (tries + 1));
  return longest / 2 + (longest / 2) * random();
}

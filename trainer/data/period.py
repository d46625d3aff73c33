"""`data.period`: how far back from the last row a series reaches."""

import calendar
from datetime import date, timedelta


def first_day_after(last: date, period: str) -> date | None:
    """The day after which rows belong to `period` (90d, 2wk, 6mo, 5y, ytd, max) when `last` is the last row's.

    None with max. A day that the earlier month lacks becomes that month's last: 6mo before August 31 is February 28.
    """
    if period == "max":
        return None
    if period == "ytd":
        return date(last.year - 1, 12, 31)
    unit = period.lstrip("0123456789")
    count = int(period.removesuffix(unit))
    if unit in ("d", "wk"):
        days = count * (7 if unit == "wk" else 1)
        return last - timedelta(days=days) if days < last.toordinal() else None
    months = last.year * 12 + last.month - 1 - count * (12 if unit == "y" else 1)
    year, month = months // 12, months % 12 + 1
    if year < 1:
        return None
    return date(year, month, min(last.day, calendar.monthrange(year, month)[1]))

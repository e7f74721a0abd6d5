"""The paper's table: its rows as runs, one after another, and the page of their results."""

from ._evaluations import figures as figures
from ._job import Job as Job, jobs as jobs
from ._measure import (
    measure_draws as measure_draws,
    measure_evaluations as measure_evaluations,
    measure_views as measure_views,
)
from ._page import page as page
from ._queue import work as work
from ._record import identity as identity, record as record
from ._rows import PAPER as PAPER, Row as Row

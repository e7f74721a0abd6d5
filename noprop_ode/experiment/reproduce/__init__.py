"""The paper's table: its rows as runs, one after the other, and the page of what they found."""

from ._page import identity as identity, page as page, record as record
from ._queue import Job as Job, jobs as jobs, measure as measure, work as work
from ._rows import PAPER as PAPER, Row as Row

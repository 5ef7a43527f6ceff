"""Has Python's garbage collector run less often. A handler imports it before all else.

A start makes some hundred thousand objects that stay. By Python's own threshold, the collector looks at them again and
again, for an eighth of the start.
"""

import gc

# New objects between two collections. A request makes far fewer, and most of these end without the collector.
gc.set_threshold(50_000, 10, 10)

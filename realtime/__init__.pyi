from realtime.api.analysis import Analysis as Analysis
from realtime.api.analysis import analyse as analyse
from realtime.api.live_tracker import Tracker as Tracker
from realtime.client import Client as Client

__distribution__: str

"""The camera path on films and streams: pictures on the session's clock, and losses that end nothing else."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from fractions import Fraction
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import av
import cv2
import numpy as np
import pytest
from support.collecting_sink import CollectingSink

from realtime.sources.camera import CameraSource
from realtime.sources.devices import device_table, list_devices
from realtime.sources.source import MediaClock

FILM_FPS = 25


def running_clock() -> Callable[[], int]:
    clock = MediaClock()
    clock.start()
    return clock.elapsed_ms


@pytest.fixture
def film(tmp_path: Path) -> Path:
    """A second and a half that is red and brightens."""
    file = tmp_path / "film.mp4"
    with av.open(str(file), "w") as out:
        stream = out.add_stream("mpeg4", rate=FILM_FPS)
        stream.width, stream.height, stream.pix_fmt, stream.bit_rate = 96, 64, "yuv420p", 1_000_000
        for number in range(FILM_FPS * 3 // 2):
            picture = np.zeros((64, 96, 3), np.uint8)
            picture[..., 0] = 50 + 5 * number
            frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
            frame.pts, frame.time_base = number, Fraction(1, FILM_FPS)
            out.mux(stream.encode(frame))
        out.mux(stream.encode(None))
    return file


def seen(source: CameraSource) -> CollectingSink:
    keeper = CollectingSink()
    source.start(keeper)
    keeper.until_over()
    source.stop()
    return keeper


def test_a_film_is_played_through_the_camera_path(film: Path) -> None:
    """Pictures are RGB, thinned to `fps`, stamped with the session's clock, and come at the pace of the film."""
    clock = running_clock()
    keeper = seen(CameraSource(str(film), fps=10, clock=clock))
    at = [frame.at_ms for frame in keeper.frames]
    assert 4 <= len(at) <= 16
    assert at == sorted(at)
    assert max(at) <= clock()
    assert at[-1] - at[0] >= 1_200
    # Brightness says when in the film a picture was: a late reader sees a later picture, never an earlier one.
    red = np.array([frame.rgb[..., 0].mean() for frame in keeper.frames])
    shown_ms = (red - 50) / 5 * 1000 / FILM_FPS
    assert ((np.array(at) - at[0]) - (shown_ms - shown_ms[0]) > -60).all()
    assert all(frame.rgb[..., 2].mean() < 30 for frame in keeper.frames)
    assert keeper.frames[0].rgb.shape == (64, 96, 3)
    assert [s.status for s in keeper.said] == ["opened", "ended"]


@pytest.mark.parametrize("camera", ["63", "nowhere.mp4", "http://127.0.0.1:9/stream"])
def test_an_absent_camera_is_told_and_nothing_is_raised(camera: str) -> None:
    """The call goes on without a camera; its status says in a sentence which one is absent."""
    keeper = seen(CameraSource(camera, clock=running_clock()))
    assert [s.status for s in keeper.said] == ["absent"]
    assert camera in keeper.said[0].detail
    assert keeper.items == []


@pytest.fixture
def stream() -> Iterator[str]:
    """A camera on the network that gives half a second of pictures and goes away."""

    class Camera(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Type", "multipart/x-mixed-replace; boundary=frame")
            self.end_headers()
            for number in range(30):
                _, jpeg = cv2.imencode(".jpg", np.full((64, 96, 3), 8 * number, np.uint8))
                self.wfile.write(b"--frame\r\nContent-Type: image/jpeg\r\n")
                self.wfile.write(b"Content-Length: %d\r\n\r\n" % len(jpeg) + jpeg.tobytes() + b"\r\n")

        def log_message(self, *said: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Camera)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}/stream.mjpg"
    server.shutdown()
    server.server_close()


def test_a_camera_that_goes_away_is_lost_and_looked_through_again(stream: str) -> None:
    """A covered lens is told; pictures until it goes away are delivered, then it is `lost`; it is opened again."""
    source, keeper = CameraSource(stream, fps=1_000, clock=running_clock()), CollectingSink()
    source.start(keeper)
    keeper.until(lambda: len(keeper.said) >= 5)
    source.stop()
    told = keeper.said
    # The first picture of each time is black.
    assert [s.status for s in told[:5]] == ["opened", "covered", "opened", "lost", "opened"]
    assert told[3].will_retry
    assert "no more pictures" in told[3].detail
    assert told[-1].status == "ended"
    at = [frame.at_ms for frame in keeper.frames]
    assert at == sorted(at)


def test_stop_closes_the_camera(film: Path) -> None:
    """`stop` in the middle ends the thread and says so; a second one does nothing."""
    source, keeper = CameraSource(str(film), clock=running_clock()), CollectingSink()
    source.start(keeper)
    keeper.until(lambda: len(keeper.frames) >= 2 or len(keeper.said) > 1)
    source.stop()
    source.stop()
    assert keeper.said[-1].status == "ended"
    assert not any(thread.name == source.name for thread in threading.enumerate())


def test_listing_devices_works_where_there_are_none() -> None:
    """Every kind of device is either listed or missed in a sentence, and the table shows both."""
    devices, missing = list_devices()
    for kind in ("microphone", "camera"):
        assert any(d.kind == kind for d in devices) or any(s.endswith(".") for s in missing)
    assert device_table() is not None

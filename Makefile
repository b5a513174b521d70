# Two commands set everything up: `make demo` and `make test`. README gives the plain ones for Windows.
PYTHON ?= python3.11
BIN := .venv/bin
DEMO := .cache/demo/conversation.mkv

.PHONY: demo test lint weights system clean

demo: weights $(DEMO)
	$(BIN)/python -m realtime.listen --config configs/listen_demo.yaml

test: weights $(DEMO)
	$(BIN)/python -m pytest

lint: .venv/ready
	$(BIN)/ruff check .
	$(BIN)/mypy

weights: .venv/ready
	$(BIN)/python -m core_models.assets fetch

$(DEMO): weights
	$(BIN)/python -m realtime.demo $@

.venv/ready: pyproject.toml configs/constraints.txt | system
	@command -v $(PYTHON) >/dev/null || { echo "Python 3.11 is needed: set PYTHON=/path/to/python3.11"; exit 1; }
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet --constraint configs/constraints.txt --editable '.[train,dev]'
	@touch $@

# Libraries that wheels do not carry: PortAudio (microphone), GL (opencv), EGL and GLES (mediapipe).
system:
	@[ "$$(uname)" != Linux ] || missing=""; \
	for lib in libportaudio.so.2 libGL.so.1 libEGL.so.1 libGLESv2.so.2 libglib-2.0.so.0; do \
	  { ldconfig -p 2>/dev/null || /sbin/ldconfig -p; } | grep -q "$$lib" || missing="$$missing $$lib"; \
	done; \
	if [ "$$(uname)" = Linux ] && [ -n "$$missing" ]; then \
	  echo "Missing system libraries:$$missing"; \
	  echo "Install them: sudo apt-get install libportaudio2 libgl1 libegl1 libgles2 libglib2.0-0"; \
	  exit 1; \
	fi

clean:
	rm -rf .venv .cache build *.egg-info

# Two commands set everything up: `make demo` and `make test`. README gives the plain ones for Windows.
PYTHON ?= python3.11
BIN := .venv/bin
DEMO := .cache/demo/conversation.mkv

.PHONY: demo test lint weights system microphone clean

demo: weights $(DEMO)
	$(BIN)/python -m realtime.listen --config configs/listen_demo.yaml

test: weights $(DEMO) | microphone
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
	$(PYTHON) -m venv .venv || { echo "venv is missing. On Debian 12: sudo apt-get install python3-venv"; exit 1; }
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet --constraint configs/constraints.txt --editable '.[train,dev]'
	@touch $@

# Libraries that wheels do not carry: GL (opencv), EGL and GLES (mediapipe), glib. A recording needs no more; PortAudio
# is for microphones alone, so the demonstration does without it, and `make test` asks for it on Debian and Ubuntu.
LIBRARIES := libGL.so.1:libgl1 libEGL.so.1:libegl1 libGLESv2.so.2:libgles2 libglib-2.0.so.0:libglib2.0-0
microphone: LIBRARIES += libportaudio.so.2:libportaudio2

# Where they are missing: on Debian and Ubuntu, as root or with sudo that asks for no password, they are installed;
# elsewhere they are named, and those that a recording needs end the run.
define install_libraries
	@[ "$$(uname)" = Linux ] || exit 0; \
	known=$$({ ldconfig -p || /sbin/ldconfig -p; } 2>/dev/null); missing=""; \
	for pair in $(LIBRARIES); do \
	  case "$$known" in *"$${pair%%:*}"*) ;; *) missing="$$missing $${pair##*:}";; esac; \
	done; \
	[ -n "$$missing" ] || exit 0; \
	if [ "$$(id -u)" = 0 ]; then as_root=""; else as_root="sudo -n"; fi; \
	if command -v apt-get >/dev/null && { [ -z "$$as_root" ] || sudo -n true 2>/dev/null; }; then \
	  echo "Installing system libraries:$$missing"; \
	  $$as_root apt-get update -qq && \
	  DEBIAN_FRONTEND=noninteractive $$as_root apt-get install -y -qq --no-install-recommends $$missing >/dev/null && exit 0; \
	fi; \
	echo "Missing system libraries. On Debian and Ubuntu: sudo apt-get install$$missing"; \
	exit $(1)
endef

system:
	$(call install_libraries,1)

microphone:
	$(call install_libraries,0)

clean:
	rm -rf .venv .cache build *.egg-info

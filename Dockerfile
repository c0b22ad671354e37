# docker build -t scorefield .    docs/server.md says how to run it
FROM python:3.11-slim

COPY . /src
RUN pip install --no-cache-dir --extra-index-url https://download.pytorch.org/whl/cpu \
      -c /src/constraints.txt '/src[server,video]' \
 && rm -rf /src \
 && useradd --create-home scorefield \
 && install -d -o scorefield /jobs

USER scorefield
VOLUME /jobs
EXPOSE 7860
ENV SCOREFIELD_MODELS=/models
# Another address than 127.0.0.1 demands SCOREFIELD_API_KEY.
ENTRYPOINT ["scorefield", "serve", "--no-browser", "--host", "0.0.0.0", "--output", "/jobs"]

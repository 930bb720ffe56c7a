"""What the workers run."""


def on_push(data):
    print(f"{data['repo']}: {data['commits']} commits", flush=True)

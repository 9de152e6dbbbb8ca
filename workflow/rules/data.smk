# Reads the images of the configured source; writes data/train.safetensors and data/test.safetensors.


use rule light as prepare_data with:
    output:
        train=TRAIN_IMAGES,
        test=TEST_IMAGES,
    pathvars:
        job="prepare_data",
    localrule: True
    # decodes and resizes pictures with all of them; nothing else can run meanwhile
    threads: TRAIN.threads
    params:
        **stage(recipes.prepare_data(settings)),
        # represents the user's own files, which are not inputs: see `lgg.data.own_files.state_of`
        source=recipes.source_state(settings.data),
